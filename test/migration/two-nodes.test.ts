/**
 * Ranks of running MPI jobs that move between two nodes by the commands that people use: every iteration of a ring once and in order,
 * in its logs, at a reader who follows them, and in the foreground; and what cannot move says why and runs on.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../contract/eventually.ts';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, program } from '../e2e/cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  criuProgram();
  cluster = await Cluster.up({ agents: 2 });
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

/** Four ranks over two nodes that say every iteration. */
const ringOf = (name: string, more: readonly string[] = []): string[] => [
  'run',
  ...['--name', name, '-n', '4', '--ppn', '2', ...more],
  ...[program('ring'), '--seconds', '3600', '--report-every', '1', '--bytes', '16384'],
];

async function ring(name: string, more: readonly string[] = []): Promise<void> {
  await cluster.done(ringOf(name, ['--detach', ...more]));
  await eventually(
    async () => expect((await cluster.done(['logs', name])).length).toBeGreaterThan(1000),
    40_000,
  );
}

/** Lines of a rank, whoever has labelled them. */
const linesOf = (text: string, rank: number): string[] =>
  text
    .split('\n')
    .map((line) => line.replace(/^\[\d+\] /, ''))
    .filter((line) => line.startsWith(`rank ${rank} `));

function expectInOrder(text: string): number {
  const counts = [0, 1, 2, 3].map((rank) => {
    const lines = linesOf(text, rank);
    lines.forEach((line, at) => expect(line).toContain(`rank ${rank} iteration ${at} `));
    return lines.length;
  });
  expect(Math.min(...counts)).toBeGreaterThan(10);
  expect(new Set(counts).size).toBe(1);
  return counts[0]!;
}

/** It runs on to the end that it is told. */
async function expectWhole(name: string): Promise<number> {
  const said = async (): Promise<number> => (await cluster.done(['logs', name])).length;
  const before = await said();
  await eventually(async () => expect(await said()).toBeGreaterThan(before + 1000));
  expect(await cluster.done(['signal', 'USR1', name, '-r', '0'])).toContain('reached 1 process');
  const waited = await cluster.wait(name, 'Succeeded', 90);
  expect(waited.stderr).toBe('');
  return expectInOrder(await cluster.done(['logs', name]));
}

const nodesOf = async (name: string): Promise<string[]> =>
  [...(await cluster.done(['ps', name])).matchAll(/^\S+ +\d+ +(node\d) /gm)].map(([, node = '']) => node);

interface Status {
  conditions?: { type: string; status: string; reason: string; message: string }[];
  strategy?: string;
  downtimeMilliseconds?: number;
  transferredBytes?: number;
}

const statusOf = async (name: string): Promise<Status> => (await cluster.get('mig', name)).status as Status;

test('ranks move to and fro while the others run on, alone and all together, and nothing is lost or doubled', async () => {
  const front = cluster.spawn(ringOf('front'));
  await ring('ring');
  const follower = cluster.spawn(['logs', '-f', 'ring']);
  await eventually(async () => expect(await nodesOf('front')).toHaveLength(4), 40_000);
  const to = async (from: string, node: string): Promise<void> => {
    const move = async (name: string): Promise<void> => {
      const made = await cluster.done(['migrate', name, '--from', from, '--to', node]);
      expect(made).toMatch(
        /^migration\/\S+ completed: ranks \S+ run on node\d, stood still for \d+ ms, [\d.]+MiB moved\n$/,
      );
      expect(new Set(await nodesOf(name))).toEqual(new Set([node]));
    };
    await Promise.all(['ring', 'front'].map(move));
  };
  await to('node1', 'node2');
  await to('node2', 'node1'); // two sandboxes at once
  // Their memory goes ahead, both sandboxes' at once.
  const ahead = ['--from', 'node1', '--to', 'node2', '--strategy', 'PreCopy', '--name', 'ahead'];
  expect(await cluster.done(['migrate', 'ring', ...ahead])).toContain('ranks 0-3 run on node2');
  expect(await statusOf('ahead')).toMatchObject({ strategy: 'PreCopy' });
  await cluster.done(['migrate', 'ring', '--from', 'node2', '--to', 'node1']);
  expect(await cluster.done(['checkpoint', 'ring', '--name', 'after'])).toContain('checkpoint/after ready');
  // Their memory follows.
  const last = ['--ranks', '2-3', '--to', 'node2', '--strategy', 'PostCopy', '--name', 'last'];
  expect(await cluster.done(['migrate', 'ring', ...last])).toContain('ranks 2-3 run on node2');
  expect(await nodesOf('ring')).toEqual(['node1', 'node1', 'node2', 'node2']);
  expect(await statusOf('last')).toMatchObject({ strategy: 'PostCopy', moves: [{ pagesLeftBytes: 0 }] });
  const whole = await expectWhole('ring');
  expect((await follower.result).code).toBe(0);
  expect(expectInOrder(follower.stdout)).toBe(whole);
  const all = await expectWhole('front');
  const ended = await front.result;
  expect({ code: ended.code, stderr: ended.stderr }).toEqual({ code: 0, stderr: '' });
  expect(expectInOrder(ended.stdout)).toBe(all);
  // Others of this machine may be at work, too.
  const own = ['node1', 'node2'].map((node) => {
    const stateDir = join(cluster.home, 'nodes', node, 'state');
    expect(existsSync(stateDir)).toBe(true);
    return `muster-transit-${createHash('sha256').update(stateDir).digest('hex').slice(0, 12)}`;
  });
  expect(readdirSync('/dev/shm').filter((name) => own.includes(name))).toEqual([]);
});

test('what is not to move, or cannot, says so, and the ranks run on', async () => {
  await ring('stays');
  await ring('host', ['--network', 'Host']);
  const migrate = async (...args: string[]): Promise<{ code: number; text: string }> => {
    const { code, stdout, stderr } = await cluster.muster(['migrate', ...args]);
    return { code: code ?? -1, text: stdout + stderr };
  };
  expect((await migrate('stays', '--from', 'node1', '--to', 'node9')).text).toContain(
    'NoTarget: no node can take sandbox 0 (ranks 0-1) of node1: there is no node node9',
  );
  expect((await migrate('stays', '--ranks', '1', '--to', 'node2')).text).toContain(
    'NotWholeSandboxes: spec.ranks 1 cuts sandboxes apart, which move whole: sandbox 0 on node1 has ranks 0-1',
  );
  expect(await migrate('stays', '--from', 'node7')).toMatchObject({
    code: 0,
    text: expect.stringContaining('no rank is on node7') as string,
  });
  expect((await migrate('host', '--from', 'node1')).text).toContain('create it with network Isolated');
  expect((await migrate('nobody', '--from', 'node1')).text).toContain('GroupNotFound');
  expect(await migrate('stays')).toMatchObject({ code: 2 });
  await cluster.done([
    'migrate',
    'stays',
    '--from',
    'node1',
    '--to',
    'node2',
    '--name',
    'deleted',
    '--no-wait',
  ]);
  await cluster.done(['delete', 'mig', 'deleted']);
  expect(await statusOf('deleted').catch(() => 'gone')).toBe('gone');
  await expectWhole('stays');
  await expectWhole('host');
  expect((await migrate('stays', '--from', 'node1')).text).toContain(
    'GroupNotRunning: ProcessGroup stays has ended',
  );
});
