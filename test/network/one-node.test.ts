import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

it('networks of groups on one node: each for itself, out only where it may, nothing left', () => {
  const scene = new URL('one-node-scene.ts', import.meta.url).pathname;
  const { stdout, stderr } = spawnSync('unshare', ['-n', process.execPath, scene], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect(stderr).toBe('');
  const { attachMs, ...seen } = JSON.parse(stdout) as Record<string, unknown>;
  expect(attachMs).toBeGreaterThan(0);
  expect(seen).toEqual({
    addresses: ['100.64.0.2', '100.64.0.3', '100.64.0.18'],
    within: 'hello',
    withinClosed: 'hello',
    neighbour: 'silence',
    fromNode: 'silence',
    leaving: 'hello',
    leavingClosed: 'ENETUNREACH',
    unplugged: 'silence',
    pluggedAgain: 'hello',
    byShortCut: 'hello',
    cutOff: 'silence',
    joinedAgain: 'hello',
    there: 1 + 3 + 5,
    shared: [],
    half: 1 + 3 + 4,
    swept: 3,
    left: ['lo'],
    afterEnd: { names: ['lo'], hadTables: true, tables: '' },
  });
});
