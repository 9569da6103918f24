import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileStore } from '../../store/file/file-store.ts';
import { takeOwnership } from '../../store/file/ownership.ts';
import { environment } from '../compile-cache.ts';
import { widgets, type Widget } from '../contract/object-store.ts';

const rounds = 200;
/** On a slow machine there are fewer. */
const enoughMs = 40_000;
const enoughRounds = 30;

describe('FileStore of a process that is killed', () => {
  let directory: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'muster-kill-'));
  });
  afterEach(() => {
    for (const child of children.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
    fs.rmSync(directory, { recursive: true });
  });

  const writer = (): ChildProcess => {
    const script = path.join(import.meta.dirname, 'crash-writer.ts');
    const child = spawn(process.execPath, [script, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: environment,
    });
    children.push(child);
    return child;
  };

  it(`has every acknowledged write after kill -9, up to ${rounds} times`, async () => {
    const acknowledged = new Map<string, number>();
    let writes = 0;
    const until = performance.now() + enoughMs;
    for (let round = 0; round < rounds; round += 1) {
      if (round >= enoughRounds && performance.now() > until) break;
      const child = writer();
      const killAt = 1 + ((round * 37) % 400);
      let lines = 0;
      let rest = '';
      child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
        const parts = (rest + chunk).split('\n');
        rest = parts.pop()!;
        for (const line of parts) {
          if (line.startsWith('problem ') && !line.includes('torn write')) expect.fail(line);
          const [name = '', size] = line.split(' ');
          if (/^[a-d]$/.test(name)) acknowledged.set(name, Number(size));
          lines += 1;
        }
        if (lines >= killAt) child.kill('SIGKILL');
      });
      await once(child, 'close');
      expect(child.signalCode).toBe('SIGKILL');
      writes += lines;
      if (round % 10 !== 0) continue;
      await using store = await FileStore.open({ directory, types: [widgets] });
      for (const [name, size] of acknowledged) {
        const found = (await store.get<Widget>(widgets, { name })).spec?.size ?? -1;
        // One more may have been written and not told.
        expect(found).toBeGreaterThanOrEqual(size);
        expect(found).toBeLessThanOrEqual(size + 1);
      }
    }
    expect(writes).toBeGreaterThan(rounds);
  });

  it('tells a second process who owns it, and lets it in when the first is dead', async () => {
    const child = writer();
    await once(child.stdout!, 'data');
    expect(() => takeOwnership(directory)).toThrow(`belongs to process ${child.pid} `);
    child.kill('SIGKILL');
    await once(child, 'close');
    takeOwnership(directory)[Symbol.dispose]();
  });

  it('has one owner however many try at once', async () => {
    const file = path.join(import.meta.dirname, '../../store/file/ownership.ts');
    // Waits for the starting time, tries once, holds on until its input ends.
    const script = `
      import { takeOwnership } from ${JSON.stringify(file)};
      import fs from 'node:fs';
      while (Date.now() < Number(process.argv[1]));
      try { takeOwnership(process.argv[2]); fs.writeSync(1, 'won'); } catch { fs.writeSync(1, 'lost'); }
      process.stdin.resume();`;
    for (let round = 0; round < 3; round += 1) {
      const startAt = Date.now() + 1500;
      const racers = Array.from({ length: 8 }, () => {
        const args = ['--input-type=module', '-e', script, String(startAt), directory];
        const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
        children.push(child);
        return child;
      });
      const results = await Promise.all(
        racers.map(async (child) => String((await once(child.stdout, 'data'))[0])),
      );
      expect(results.filter((result) => result === 'won')).toHaveLength(1);
      // All die without letting go, so the next round begins from a dead owner.
      await Promise.all(
        racers.map((child) => {
          child.kill('SIGKILL');
          return once(child, 'close');
        }),
      );
    }
  });
});
