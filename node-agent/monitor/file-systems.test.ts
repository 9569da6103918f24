import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FileSystems } from './file-systems.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'file-systems-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

/** stat(1), but for one path that never comes back while the file `gone` is there. */
function asker(): string {
  const program = join(root, 'stat');
  writeFileSync(
    program,
    `#!/bin/sh\nfor word; do test "$word" = /usr && test -e ${root}/gone && sleep 600; done\nexec stat "$@"\n`,
  );
  chmodSync(program, 0o755);
  return program;
}

test('room is told of each path, and what cannot be read is told by why', async () => {
  const systems = new FileSystems({ paths: ['/', root, '/no/such/place'] });
  await systems.probe(0);
  const [first, second, third] = systems.figures;
  expect(first).toMatchObject({ path: '/', trouble: '', readOnly: false });
  expect(first!.totalBytes).toBeGreaterThan(first!.availableBytes);
  expect(second!.availableBytes).toBeGreaterThan(0);
  expect(third!.trouble).toContain('No such file or directory');
});

test('one that hangs is told, keeps its last figures, and holds up nobody; it is asked again once it is back', async () => {
  const systems = new FileSystems({ paths: ['/', '/usr'], answerWithinMs: 1000, program: asker() });
  await systems.probe(0);
  expect(systems.figures.map(({ trouble }) => trouble)).toEqual(['', '']);
  writeFileSync(join(root, 'gone'), '');
  await systems.probe(0);
  expect(systems.of('/')).toMatchObject({ trouble: '' });
  expect(systems.of('/usr')).toMatchObject({ trouble: 'does not answer within 1 s' });
  expect(systems.of('/usr')!.totalBytes).toBeGreaterThan(0);
  rmSync(join(root, 'gone'));
  await vi.waitFor(
    async () => {
      await systems.probe(0);
      expect(systems.of('/usr')).toMatchObject({ trouble: '' });
    },
    { timeout: 20_000, interval: 50 },
  );
});

test('a node without stat(1) asks itself', async () => {
  const systems = new FileSystems({ paths: ['/', '/no/such/place'], program: join(root, 'nosuch') });
  await systems.probe(0);
  expect(systems.of('/')).toMatchObject({ trouble: '' });
  expect(systems.of('/')!.totalBytes).toBeGreaterThan(0);
  expect(systems.of('/no/such/place')).toMatchObject({ trouble: 'cannot be read' });
});
