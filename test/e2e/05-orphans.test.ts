/** Whatever a rank leaves behind: when its job is over, and when the cluster is down, nothing of it runs. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster, eventually, processesWithArgument, program } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.up({ agents: 2 });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

let tags = 0;
const newTag = (): string => `orphan-${process.pid}-${++tags}`;
const living = (tag: string): number[] => processesWithArgument(tag);
const gone = (tag: string): Promise<void> =>
  eventually(
    () => living(tag).length === 0,
    'no orphan left',
    () => living(tag).join(' '),
  );

test('a daemon made by double fork and setsid ends with its job', async () => {
  const tag = newTag();
  const ended = await cluster.run(['-n', '4', '--nodes', 'node1,node2', program('orphan'), tag]);
  expect(ended.code).toBe(0);
  expect(ended.stdout.match(/^orphan \d+$/gm)).toHaveLength(4);
  await gone(tag);
  await eventually(
    () => cluster.cgroups().every((path) => !/\/[^/]+-\d+-\d+$/.test(path)),
    'no cgroup of a sandbox left',
    () => cluster.cgroups().join('\n'),
  );
});

test('it lives as long as its job does', async () => {
  const tag = newTag();
  await cluster.run(['-n', '1', '--detach', '--name', 'stays', program('orphan'), tag, '3600', 'stay']);
  await eventually(() => living(tag).length === 2, 'the rank and its orphan');
  await cluster.done(['kill', '--now', 'stays']);
  await gone(tag);
});

test('who ignores SIGTERM is killed after the grace period', async () => {
  const tag = newTag();
  await cluster.run([
    '-n',
    '2',
    '--detach',
    '--grace',
    '1',
    '--name',
    'deaf',
    'sh',
    '-c',
    `trap "" TERM; exec ${program('stubborn')} 3600 ${tag}`,
  ]);
  await eventually(() => living(tag).length === 2, 'both ranks');
  const before = performance.now();
  await cluster.done(['kill', 'deaf']);
  expect(performance.now() - before).toBeGreaterThan(900);
  await gone(tag);
});

test('a deleted job leaves nothing', async () => {
  const tag = newTag();
  await cluster.run([
    '-n',
    '2',
    '--detach',
    '--grace',
    '1',
    '--name',
    'deleted',
    program('orphan'),
    tag,
    '3600',
    'stay',
  ]);
  await eventually(() => living(tag).length === 4, 'two ranks and their orphans');
  await cluster.done(['delete', 'pg', 'deleted']);
  await gone(tag);
  expect((await cluster.muster(['get', 'pg', 'deleted'])).code).not.toBe(0);
});

test('a fork bomb stays within its limit, and nothing of it outlives the job', async () => {
  const tag = newTag();
  // A user of its own: the kernel counts processes by user.
  const uid = 40_000 + (process.pid % 20_000);
  const bomb = cluster.file('bomb.sh', '#!/bin/sh\n"$0" "$1" & "$0" "$1" & wait\nsleep 3600\n');
  const applied = await cluster.apply(`
apiVersion: muster.dev/v1alpha1
kind: ProcessGroup
metadata: { name: bomb }
spec:
  size: 1
  processes: [{ name: main, ranks: '0', command: [${bomb}, ${tag}] }]
  securityContext: { runAsUser: ${uid}, runAsGroup: ${uid} }
  rlimits: [{ name: Processes, soft: 60, hard: 60 }]
  gracePeriodSeconds: 1
`);
  expect(applied.stderr).toBe('');
  await eventually(
    () => living(tag).length >= 40,
    'the bomb to have spread',
    () => String(living(tag).length),
  );
  expect(living(tag).length).toBeLessThanOrEqual(60);
  expect((await cluster.run(['-n', '2', 'echo', 'still here'])).stdout).toBe('still here\nstill here\n');
  await cluster.done(['kill', '--now', 'bomb']);
  await gone(tag);
});

test('down ends jobs that run, and jobs whose agents were killed', async () => {
  const [first, second] = [newTag(), newTag()];
  const other = await Cluster.up({ agents: 1 });
  await other.run(['-n', '2', '--detach', program('orphan'), first, '3600', 'stay']);
  await eventually(() => living(first).length === 4, 'ranks and orphans');
  for (const pid of processesWithArgument('agent').filter((pid) => other.processes().includes(pid)))
    process.kill(pid, 'SIGKILL');
  for (const pid of processesWithArgument('up').filter((pid) => other.processes().includes(pid)))
    process.kill(pid, 'SIGKILL');
  expect(living(first)).toHaveLength(4);
  await other.down();
  expect(living(first)).toEqual([]);
  await other.start();
  await other.run(['-n', '1', '--detach', program('orphan'), second, '3600', 'stay']);
  await eventually(() => living(second).length === 2, 'rank and orphan');
  await other[Symbol.asyncDispose]();
  expect(living(second)).toEqual([]);
});
