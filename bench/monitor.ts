/**
 * What watching costs: an agent's processor time and memory by the number of ranks it measures, the time a `muster ps` of them takes,
 * and writes of the store with a thousand agents that report different figures each time. `MUSTER_BENCH_SECONDS` (30),
 * `MUSTER_BENCH_RANKS` (0,16,64,256; empty: none) and `MUSTER_BENCH_AGENTS` (1000) change the numbers.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import pino from 'pino';
import { runControlPlane } from '../controllers/control-plane.ts';
import { issue, makeAuthority } from '../controllers/pki/certificate.ts';
import { musterAdmit, musterTypes } from '../store/muster-types.ts';
import { FileStore } from '../store/file/file-store.ts';
import { TestAgent } from '../test/controllers/test-agent.ts';
import { Cluster } from './kit/cluster.ts';
import { run } from './kit/command.ts';
import { print, rounded } from './kit/report.ts';

const seconds = Number(process.env['MUSTER_BENCH_SECONDS'] ?? 30);
const ranksMeasured = (process.env['MUSTER_BENCH_RANKS'] ?? '0,16,64,256')
  .split(',')
  .filter(Boolean)
  .map(Number);
const agents = Number(process.env['MUSTER_BENCH_AGENTS'] ?? 1000);

if (ranksMeasured.length > 0) await byRanks(ranksMeasured);
if (agents > 0) await writesOf(agents);

async function byRanks(counts: readonly number[]): Promise<void> {
  await using cluster = await Cluster.up(1);
  for (const ranks of counts) {
    const name = `ranks-${ranks}`;
    if (ranks > 0) {
      await run(cluster.run(ranks, '--detach', '--name', name, 'sleep', '3600'));
      await run(cluster.command('wait', name, '--for', 'Running', '--timeout', '60'));
    }
    await pause(15_000); // what the launch leaves to be done
    const pid = cluster.pidOf('node1');
    const before = processorNs(pid);
    await pause(seconds * 1000);
    const percent = (processorNs(pid) - before) / (seconds * 1e7);
    print({ bench: 'agent-cpu', ranks, seconds, value: rounded(percent), unit: '% of a core' });
    print({ bench: 'agent-memory', ranks, value: mebibytes(pid), unit: 'MiB' });
    if (ranks === 0) continue;
    const begunMs = performance.now();
    await run(cluster.command('ps', name, '-o', 'json'));
    print({ bench: 'ps', ranks, value: rounded(performance.now() - begunMs), unit: 'ms' });
    await run(cluster.command('kill', '--now', name));
  }
}

/** On a processor, of all its threads, by the scheduler's own count. */
function processorNs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8'))
    .reduce((sum, text) => sum + Number(text.split(' ')[0]), 0);
}

function mebibytes(pid: number): number {
  const found = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return rounded(Number(found?.[1]) / 1024);
}

async function writesOf(count: number): Promise<void> {
  const directory = mkdtempSync(join(process.env['MUSTER_BENCH_DIR'] ?? '/var/tmp', 'muster-bench-'));
  const stop = new AbortController();
  try {
    await using store = await FileStore.open({ directory, types: musterTypes(), admit: musterAdmit });
    let writes = 0;
    const counting = new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        if (!['create', 'update', 'updateStatus', 'patch', 'delete'].includes(String(name)))
          return value.bind(target) as unknown;
        return (...given: unknown[]): unknown => {
          writes += 1;
          return value.apply(target, given) as unknown;
        };
      },
    });
    const authority = await makeAuthority('bench');
    const own = await issue(authority, { kind: 'server', names: ['127.0.0.1'] });
    await using plane = await runControlPlane(
      {
        store: counting,
        hubListen: '127.0.0.1:0',
        tls: { ca: authority.cert, ...own },
        clusterId: 'bench',
        heartbeatSeconds: 30, // all of them are this one process: a busy moment is no lost node
        secrets: { get: () => Promise.resolve({ env: [] }) },
        logger: pino({ level: 'silent' }),
      },
      stop.signal,
    );
    const all: TestAgent[] = [];
    // Each every ten seconds, as real ones, from the beginning: the hub gives up who is silent.
    let next = 0;
    const timer = setInterval(() => {
      for (let each = 0; each < Math.ceil(all.length / 100); each += 1) all[next++ % all.length]?.measured();
    }, 100);
    for (let at = 0; at < count; at += 1) {
      const node = `node${at}`;
      const agent = new TestAgent(node, authority.cert, await issue(authority, { kind: 'node', node }));
      agent.connect(plane.hub.port);
      all.push(agent);
      if (at % 10 === 9) await pause(20);
    }
    while (plane.hub.connectedNodes < count) await pause(100);
    // The first rounds make the objects and say what nobody knew.
    await pause(80_000);
    const [before, usedBefore] = [writes, process.cpuUsage()];
    await pause(seconds * 1000);
    clearInterval(timer);
    const used = process.cpuUsage(usedBefore);
    const cpu = (used.user + used.system) / 1e4 / seconds;
    print({
      bench: 'store-writes',
      agents: count,
      value: rounded((writes - before) / seconds),
      unit: 'a second',
    });
    print({
      bench: 'reports-cpu',
      agents: count,
      value: rounded(cpu),
      unit: '% of a core',
      of: 'agents and controllers',
    });
    for (const agent of all) agent.disconnect();
  } finally {
    stop.abort();
    rmSync(directory, { recursive: true, force: true });
  }
}
