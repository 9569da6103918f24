/**
 * MPI jobs on three nodes that are drained one after the other until all have been emptied once, while they run: a ring, whose output is,
 * to the byte, that of a run that nobody disturbed, and beside it an application of others, GROMACS, which comes to the same to the last
 * digit. And a job that cannot move, which stays and says why.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Argon, bringApplications } from '../checkpoint/gromacs.ts';
import { eventually } from '../contract/eventually.ts';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, program } from '../e2e/cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  criuProgram();
  bringApplications();
  cluster = await Cluster.up({ agents: 3 });
}, 240_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

const ringOf = (name: string, until: readonly string[]): string[] => [
  ...['run', '--name', name, '-n', '4', '--ppn', '2'],
  ...[program('ring'), ...until, '--report-every', '50', '--bytes', '16384'],
];
const logsOf = (name: string): Promise<string> => cluster.done(['logs', name, '--no-label']);
const nodesOf = async (name: string): Promise<Set<string>> =>
  new Set(
    [...(await cluster.done(['ps', name])).matchAll(/^\S+ +\d+ +(node\d) /gm)].map(([, node = '']) => node),
  );
const ofRank = async (name: string, rank: number): Promise<string> =>
  cluster.done(['logs', name, '-r', String(rank), '--no-label']);

test('every node is emptied once, and nobody can tell from what the jobs wrote', async () => {
  using argon = new Argon(30_000);
  const simulation = (name: string): string[] => [
    ...['run', '--detach', '--name', name, '-n', '2', '--ppn', '1', ...argon.command(name)],
  ];
  await cluster.done(simulation('moved'));
  const front = cluster.spawn(ringOf('tour', ['--seconds', '3600']), { timeoutMs: 150_000 });
  await eventually(async () => expect((await logsOf('tour')).length).toBeGreaterThan(1000), 40_000);
  for (const name of ['tour', 'moved']) expect(await nodesOf(name)).toEqual(new Set(['node1', 'node2']));
  for (const node of ['node1', 'node2', 'node3']) {
    const sofar = argon.told('moved');
    await eventually(() => expect(argon.told('moved')).toBeGreaterThan(sofar), 40_000);
    const drained = await cluster.muster(['drain', node]);
    expect(drained).toMatchObject({ code: 0, stderr: '', stdout: `nodemonitor/${node} drained\n` });
    for (const name of ['tour', 'moved']) expect(await nodesOf(name)).not.toContain(node);
    await cluster.done(['uncordon', node]);
  }
  const moved = JSON.parse(await cluster.done(['get', 'mig', '-o', 'json'])) as { items: Migration[] };
  for (const { metadata, status } of moved.items) {
    expect(metadata.name).toMatch(/^(?:tour|moved)-off-node\d-[0-9a-f]{6}-\d+$/);
    expect(metadata.ownerReferences).toMatchObject([{ kind: 'NodeMonitor' }]);
    expect(status.phase).toBe('Completed');
  }
  expect(moved.items.length).toBeGreaterThanOrEqual(6);
  await cluster.done(['signal', 'USR1', 'tour', '-r', '0']);
  const ended = await front.result;
  expect({ code: ended.code, stderr: ended.stderr }).toEqual({ code: 0, stderr: '' });
  const iterations = /^DONE iterations=(\d+) /m.exec(ended.stdout)?.[1] ?? '';
  const undisturbed = await cluster.muster(ringOf('still', ['--iterations', iterations]), {
    timeoutMs: 150_000,
  });
  expect(undisturbed).toMatchObject({ code: 0, stderr: '' });
  const sorted = (text: string): string => text.split('\n').sort().join('\n');
  expect(sorted(ended.stdout)).toBe(sorted(undisturbed.stdout));
  for (const rank of [0, 1, 2, 3]) expect(await ofRank('tour', rank)).toBe(await ofRank('still', rank));
}, 240_000);

interface Migration {
  metadata: { name: string; ownerReferences?: { kind: string }[] };
  status: { phase: string };
}

test('a job that cannot move stays, and the drain says why, tries again, and is taken back', async () => {
  await cluster.done([
    'run',
    '-d',
    '--name',
    'host',
    '-n',
    '1',
    '--network',
    'Host',
    '--nodes',
    'node1',
    'sleep',
    '600',
  ]);
  await cluster.wait('host', 'Running');
  const drained = await cluster.muster(['drain', 'node1']);
  expect(drained).toMatchObject({ code: 1, stdout: '' });
  expect(drained.stderr).toMatch(
    /nodemonitor\/node1 is not drained: 1 to go: default\/host could not be moved: Migration host-off-node1-\S+-1: .*create it with network Isolated/,
  );
  expect(await cluster.condition('host', 'Running')).toMatchObject({ status: 'True' });
  await eventually(
    async () => expect(await cluster.done(['get', 'mig', '-o', 'name'])).toMatch(/host-off-node1-\S+-2$/m),
    30_000,
  );
  await cluster.done(['uncordon', 'node1']);
  expect(await cluster.condition('host', 'Running')).toMatchObject({ status: 'True' });
  await cluster.done(['kill', '--now', 'host']);
});
