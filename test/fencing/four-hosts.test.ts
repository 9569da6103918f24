/**
 * Groups that start again elsewhere when they lose a node, over four hosts whose cables are pulled. Ranks write down every 20 ms which
 * incarnation runs, by a clock that is the same on all hosts: what two incarnations wrote must not overlap.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../hosts/cluster.ts';
import { eventually } from '../hosts/processes.ts';

/** Seconds until ranks that nobody vouches for are stopped; a quarter later they are killed. */
const lease = 6;

let cluster: Cluster;
/** Not on the hosts' own file systems: every rank sees it. */
const shared = mkdtempSync('/var/tmp/muster-fencing-');

beforeAll(async () => {
  chmodSync(shared, 0o777);
  cluster = await Cluster.make([{}, {}, {}, {}], {}, { up: ['--node-lease', String(lease)] });
});
afterEach(async () => {
  await cluster.heal();
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  rmSync(shared, { recursive: true });
});

interface Status {
  readonly phase?: string;
  readonly restarts?: number;
  readonly holds?: readonly { readonly name: string; readonly reason: string }[];
}

async function statusOf(name: string): Promise<Status> {
  return (await cluster.group(name)).status ?? {};
}

const until = (name: string, holds: (status: Status) => boolean, what: string): Promise<boolean> =>
  eventually(async () => holds(await statusOf(name)), `${name} to ${what}`).catch(async (error: unknown) => {
    throw new Error(`${String(error)}; it is ${JSON.stringify(await statusOf(name))}`);
  });
const isRunning = ({ phase }: Status): boolean => phase === 'Running';

/** Three ranks on as many nodes. */
async function start(name: string, node: 'Restart' | 'Fail', maxRestarts = 3): Promise<void> {
  const script = `while :; do read up idle </proc/uptime; echo "$MUSTER_INCARNATION $up $MUSTER_NODE" >>${shared}/${name}; sleep 0.02; done`;
  const manifest = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name, namespace: 'default' },
    spec: {
      size: 3,
      processes: [{ name: 'main', ranks: '0-2', command: ['sh', '-c', script] }],
      placement: { ranksPerNode: 1 },
      pmi: 'None',
      failurePolicy: { node, maxRestarts },
    },
  };
  const { code, stderr } = await cluster.muster(['apply', '-f', '-'], {
    input: Buffer.from(JSON.stringify(manifest)),
  });
  if (code !== 0) throw new Error(stderr);
  await until(name, isRunning, 'run');
}

interface Beat {
  readonly incarnation: number;
  readonly at: number;
  readonly node: string;
}

function beatsOf(name: string): Beat[] {
  if (!existsSync(join(shared, name))) return [];
  const lines = readFileSync(join(shared, name), 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => {
    const [incarnation, at, node = ''] = line.split(' ');
    return { incarnation: Number(incarnation), at: Number(at), node };
  });
}

/** What an incarnation wrote came wholly before what the next one wrote. */
function neverTwo(name: string): void {
  const beats = beatsOf(name);
  expect(beats.length).toBeGreaterThan(0);
  const last = new Map<number, number>();
  const first = new Map<number, number>();
  for (const { incarnation, at } of beats) {
    last.set(incarnation, Math.max(last.get(incarnation) ?? 0, at));
    first.set(incarnation, Math.min(first.get(incarnation) ?? Infinity, at));
  }
  for (const [incarnation, begin] of first)
    for (const [other, end] of last) if (other < incarnation) expect(begin).toBeGreaterThan(end);
}

/** The node, of those where the newest incarnation runs, that is farthest from the control plane's. */
function lastNodeOf(name: string): Promise<string> {
  return eventually(() => {
    const beats = beatsOf(name);
    const newest = Math.max(...beats.map(({ incarnation }) => incarnation));
    const nodes = new Set(beats.filter(({ incarnation }) => incarnation === newest).map(({ node }) => node));
    return nodes.size === 3 ? [...nodes].sort().at(-1) : undefined;
  }, `three nodes of ${name}`);
}

const beatsAgain = (name: string, node: string): Promise<unknown> => {
  const before = beatsOf(name).filter((beat) => beat.node === node).length;
  return eventually(
    () => beatsOf(name).filter((beat) => beat.node === node).length > before + 5,
    `ranks on ${node} to go on`,
  );
};
const standsStill = (name: string, node: string): Promise<unknown> => {
  let [count, since] = [-1, performance.now()];
  return eventually(() => {
    const now = beatsOf(name).filter((beat) => beat.node === node).length;
    if (now !== count) [count, since] = [now, performance.now()];
    return performance.now() - since > 1_000;
  }, `ranks on ${node} to stand still`);
};

describe('a host that is cut off', () => {
  it('for less than a lease: nothing happens, again and again', async () => {
    await start('flaps', 'Restart');
    const node = await lastNodeOf('flaps');
    for (let cut = 0; cut < 4; cut++) {
      await cluster.host(node).link(false);
      const over = performance.now() + 1_500;
      await eventually(() => performance.now() > over, 'a cut');
      await cluster.host(node).link(true);
      await eventually(() => cluster.isReady(node), `${node} to be ready`);
      await beatsAgain('flaps', node);
    }
    expect(await statusOf('flaps')).toMatchObject({ phase: 'Running' });
    expect((await statusOf('flaps')).restarts).toBe(0);
    neverTwo('flaps');
    await cluster.succeed(['delete', 'pg', 'flaps']);
  });

  it('for good: its ranks stop and are killed, then the group runs elsewhere, and nothing is left when it is back', async () => {
    await start('moves', 'Restart');
    const node = await lastNodeOf('moves');
    await cluster.host(node).link(false);
    await until('moves', ({ holds }) => holds?.[0]?.name === 'Fence', 'be held by the fence');
    await standsStill('moves', node);
    await until('moves', (status) => isRunning(status) && status.restarts === 1, 'run again');
    expect(await lastNodeOf('moves')).not.toBe(node);
    expect((await statusOf('moves')).holds ?? []).toEqual([]);
    const events = await cluster.succeed(['get', 'events', '-o', 'json']);
    for (const reason of ['NodeSilent', 'Restarting']) expect(events).toContain(`"reason": "${reason}"`);
    await cluster.host(node).link(true);
    await eventually(
      async () => !(await cluster.host(node).processes()).some((each) => /rank-init/.test(each)),
      'the old ranks to be gone',
    );
    neverTwo('moves');
    await cluster.succeed(['delete', 'pg', 'moves']);
  });
});
