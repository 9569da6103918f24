/**
 * Groups that start again elsewhere when they lose a node, over four hosts whose cables are pulled. Ranks write down every 20 ms which
 * incarnation runs, by a clock that is the same on all hosts, what two incarnations wrote must not overlap; and they tell one another over
 * the job's own network, where the same address must never speak for two.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, muster } from '../hosts/cluster.ts';
import { eventually } from '../hosts/processes.ts';

/** Seconds until ranks that nobody vouches for are stopped; a quarter later they are killed. */
const lease = 6;

let cluster: Cluster;
/** Not on the hosts' own file systems: every rank sees it. */
const shared = mkdtempSync('/var/tmp/muster-fencing-');

const library = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketime.so.1`;
/** How far the clocks of the agents are off, as libfaketime reads it. */
const clockFile = join(shared, 'clock');
const clock = {
  LD_PRELOAD: library,
  FAKETIME_TIMESTAMP_FILE: clockFile,
  FAKETIME_CACHE_DURATION: '1',
  FAKETIME_DONT_FAKE_MONOTONIC: '1',
};

beforeAll(async () => {
  chmodSync(shared, 0o777);
  writeFileSync(clockFile, '+0');
  if (!existsSync(library)) throw new Error(`${library} is missing: apt-get install libfaketime`);
  const clocks = { node2: clock, node3: clock, node4: clock };
  cluster = await Cluster.make([{}, {}, {}, {}], clocks, { up: ['--node-lease', String(lease)] });
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

/** A rank: beats every 20 ms, on disk, and every fifth to its peers; whom it hears it notes. */
const beating = (name: string): string => `
  const { appendFileSync, readFileSync } = require('fs');
  const { MUSTER_INCARNATION: own, MUSTER_NODE: node } = process.env;
  const host = require('os').hostname();
  const address = require('os').networkInterfaces().eth0.find(({ family }) => family === 'IPv4').address;
  const peers = ['0', '1', '2'].map((rank) => host.replace(/\\d+$/, rank)).filter((peer) => peer !== host);
  const socket = require('dgram').createSocket('udp4');
  socket.on('message', (told) => appendFileSync('${shared}/${name}.heard', own + ' ' + told + '\\n')).on('error', () => undefined);
  let beats = 0;
  const beat = () => {
    const up = readFileSync('/proc/uptime', 'utf8').split(' ')[0];
    appendFileSync('${shared}/${name}', [own, up, node, host, address].join(' ') + '\\n');
    if (beats++ % 5 === 0) for (const peer of peers) socket.send(own, 9000, peer, () => undefined);
  };
  socket.bind(9000, () => setInterval(beat, 20));`;

/** Three ranks on as many nodes. */
async function start(name: string, node: 'Restart' | 'Fail', maxRestarts = 3): Promise<void> {
  const manifest = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name, namespace: 'default' },
    spec: {
      size: 3,
      processes: [{ name: 'main', ranks: '0-2', command: [process.execPath, '-e', beating(name)] }],
      placement: { ranksPerNode: 1 },
      network: 'Isolated',
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
  readonly host: string;
  readonly address: string;
}

function beatsOf(name: string): Beat[] {
  if (!existsSync(join(shared, name))) return [];
  const lines = readFileSync(join(shared, name), 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => {
    const [incarnation, at, node = '', host = '', address = ''] = line.split(' ');
    return { incarnation: Number(incarnation), at: Number(at), node, host, address };
  });
}

/** Who was heard over the job's network, and by whom: incarnations. */
const heardOf = (name: string): string[] => {
  const file = join(shared, `${name}.heard`);
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
};

/** What an incarnation wrote came wholly before what the next one wrote; each has the addresses of the one before, and hears itself alone. */
async function neverTwo(name: string): Promise<void> {
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
  const addresses = new Map(beats.map(({ host, address }) => [host, address]));
  expect(addresses.size).toBe(3);
  for (const { host, address } of beats) expect(address).toBe(addresses.get(host));
  const heard = (): string[][] => heardOf(name).map((line) => line.split(' '));
  await eventually(() => new Set(heard().map(([own]) => own)).size === first.size, `${name} to be heard`);
  for (const [own, told] of heard()) expect(told).toBe(own);
}

/** The group runs, after it was started again once more than that. */
const startsAgain = (name: string, restarts: number): Promise<boolean> =>
  until(name, (status) => isRunning(status) && (status.restarts ?? 0) > restarts, 'run again');

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

/** Drops what a host receives, or what it sends. */
const cut = (node: string, direction: 'input' | 'output'): Promise<string> =>
  cluster
    .host(node)
    .sh(
      `nft add table inet cut; nft add chain inet cut drops '{ type filter hook ${direction} priority 0; }'; nft add rule inet cut drops meta ${direction === 'input' ? 'iifname' : 'oifname'} eth0 drop`,
    );
const uncut = (node: string): Promise<string> => cluster.host(node).sh('nft delete table inet cut');

/** Nothing of a job is left on the host. */
const isSwept = (node: string): Promise<boolean> =>
  eventually(
    async () => !(await cluster.host(node).processes()).some((each) => each.endsWith(' rank-init')),
    `the old ranks on ${node} to be gone`,
  );

describe('a host that is cut off', () => {
  it('for less than a lease: nothing happens, again and again, though its clock is set back an hour', async () => {
    await start('flaps', 'Restart');
    const node = await lastNodeOf('flaps');
    for (let cut = 0; cut < 4; cut++) {
      if (cut === 2) writeFileSync(clockFile, '-1h');
      await cluster.host(node).link(false);
      const over = performance.now() + 400;
      await eventually(() => performance.now() > over, 'a cut');
      await cluster.host(node).link(true);
      await eventually(() => cluster.isReady(node), `${node} to be ready`);
      await beatsAgain('flaps', node);
    }
    expect(await statusOf('flaps')).toMatchObject({ phase: 'Running' });
    expect((await statusOf('flaps')).restarts).toBe(0);
    await neverTwo('flaps');
    await cluster.succeed(['delete', 'pg', 'flaps']);
  });

  it('for good: its ranks stop and are killed, then the group runs elsewhere, and nothing is left when it is back', async () => {
    await start('moves', 'Restart');
    const node = await lastNodeOf('moves');
    const { restarts = 0 } = await statusOf('moves');
    await cluster.host(node).link(false);
    await until('moves', ({ holds }) => holds?.[0]?.name === 'Fence', 'be held by the fence');
    await standsStill('moves', node);
    await startsAgain('moves', restarts);
    expect(await lastNodeOf('moves')).not.toBe(node);
    expect((await statusOf('moves')).holds ?? []).toEqual([]);
    const events = await cluster.succeed(['get', 'events', '-o', 'json']);
    for (const reason of ['NodeSilent', 'Restarting']) expect(events).toContain(`"reason": "${reason}"`);
    await cluster.host(node).link(true);
    await isSwept(node);
    // By a clock that was set back an hour.
    const told = [
      ...cluster.agents
        .get(node)!
        .said()
        .matchAll(/"time":(\d+)/g),
    ].map(([, ms]) => Number(ms));
    expect(told.at(-1)).toBeLessThan(Date.now() - 3_500_000);
    await neverTwo('moves');
    await cluster.succeed(['delete', 'pg', 'moves']);
  });

  it('that can only listen, its agent killed: rank-init does it alone, and an agent that comes back sweeps up', async () => {
    await start('deaf', 'Restart');
    const node = await lastNodeOf('deaf');
    const { restarts = 0 } = await statusOf('deaf');
    await cut(node, 'output');
    await cluster.agents.get(node)!.end('SIGKILL');
    await standsStill('deaf', node);
    await startsAgain('deaf', restarts);
    await uncut(node);
    await cluster.startAgent(cluster.host(node));
    await isSwept(node);
    await neverTwo('deaf');
    await cluster.succeed(['delete', 'pg', 'deaf']);
  });

  it('for good with its agent killed, which comes back when the group runs elsewhere', async () => {
    await start('dark', 'Restart');
    const node = await lastNodeOf('dark');
    const { restarts = 0 } = await statusOf('dark');
    await cluster.host(node).link(false);
    await cluster.agents.get(node)!.end('SIGKILL');
    await startsAgain('dark', restarts);
    await cluster.host(node).link(true);
    await cluster.startAgent(cluster.host(node));
    await isSwept(node);
    await neverTwo('dark');
    await cluster.succeed(['delete', 'pg', 'dark']);
  });

  it('that can only speak, its agent killed and started again meanwhile: the new agent lets nobody run', async () => {
    await start('mute', 'Restart');
    const node = await lastNodeOf('mute');
    const { restarts = 0 } = await statusOf('mute');
    await cut(node, 'input');
    await standsStill('mute', node);
    await cluster.agents.get(node)!.end('SIGKILL');
    const { pid } = await cluster.host(node).start([muster, 'agent']);
    await startsAgain('mute', restarts);
    await uncut(node);
    await isSwept(node);
    await neverTwo('mute');
    process.kill(pid, 'SIGKILL');
    await cluster.succeed(['delete', 'pg', 'mute']);
  });
});

describe('a controller that is silent for longer than any lease', () => {
  it('leaves groups alone that start nowhere else, and starts others again once it is back', async () => {
    await start('stays', 'Fail');
    await start('waits', 'Restart');
    const node = await lastNodeOf('waits');
    const { restarts = 0 } = await statusOf('waits');
    const controller = (
      await cluster.front.sh(
        `ps -e -o pid=,args= | sed -n 's/^ *\\([0-9]*\\) .* controller -[-]listen .*/\\1/p'`,
      )
    ).trim();
    await cluster.front.sh(`kill -STOP ${controller}`);
    await standsStill('waits', node);
    for (const each of ['node1', 'node2', 'node3'])
      if (beatsOf('stays').some((beat) => beat.node === each)) await beatsAgain('stays', each);
    const over = performance.now() + lease * 500;
    await eventually(() => performance.now() > over, 'the hard end');
    await cluster.front.sh(`kill -CONT ${controller}`);
    await startsAgain('waits', restarts);
    await neverTwo('waits');
    expect(await statusOf('stays')).toMatchObject({ phase: 'Running', restarts: 0 });
    expect(new Set(beatsOf('stays').map(({ incarnation }) => incarnation))).toEqual(new Set([1]));
    await cluster.succeed(['delete', 'pg', 'stays', 'waits']);
  });
});
