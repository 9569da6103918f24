/**
 * What watching costs: an agent's processor time and memory by the number of ranks it measures, the time a `muster ps` of them takes,
 * and what a thousand agents make the control plane write, which report as real ones do (kit/reporting-agents.ts) and hold the
 * sandboxes of fifty jobs. `MUSTER_BENCH_SECONDS` (30),
 * `MUSTER_BENCH_RANKS` (0,16,64,256; empty: none) and `MUSTER_BENCH_AGENTS` (1000) change the numbers.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import pino from 'pino';
import { runControlPlane } from '../controllers/control-plane.ts';
import { measuredEveryMs } from '../controllers/node-monitor/reconcile.ts';
import { issue, makeAuthority } from '../controllers/pki/certificate.ts';
import { processGroupType } from '../controllers/resource-types.ts';
import type { ProcessGroup } from '../crds/types.gen.ts';
import { musterAdmit, musterTypes } from '../store/muster-types.ts';
import { FileStore } from '../store/file/file-store.ts';
import { Cluster } from './kit/cluster.ts';
import { run } from './kit/command.ts';
import { print, rounded } from './kit/report.ts';

const seconds = Number(process.env['MUSTER_BENCH_SECONDS'] ?? 30);
const ranksMeasured = (process.env['MUSTER_BENCH_RANKS'] ?? '0,16,64,256')
  .split(',')
  .filter(Boolean)
  .map(Number);
const agents = Number(process.env['MUSTER_BENCH_AGENTS'] ?? 1000);
const agentProcesses = 4;
const nodesOfJob = 20;
const settleMs = 60_000;

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
  const children: ChildProcess[] = [];
  try {
    await using store = await FileStore.open({
      directory: join(directory, 'store'),
      types: musterTypes(),
      admit: musterAdmit,
    });
    const writes = new Map<string, number>();
    const authority = await makeAuthority('bench');
    const own = await issue(authority, { kind: 'server', names: ['localhost'] });
    await using plane = await runControlPlane(
      {
        store: countingWrites(store, writes),
        hubListen: '127.0.0.1:0',
        tls: { ca: authority.cert, ...own },
        clusterId: 'bench',
        secrets: { get: () => Promise.resolve({ env: [] }) },
        logger: pino({ level: 'silent' }),
      },
      stop.signal,
    );
    writeFileSync(join(directory, 'authority.json'), JSON.stringify(authority), { mode: 0o600 });
    const each = Math.ceil(count / agentProcesses);
    for (let first = 0; first < count; first += each) {
      const program = join(import.meta.dirname, 'kit/reporting-agents.ts');
      const args = [
        program,
        String(plane.hub.port),
        directory,
        String(first),
        String(Math.min(each, count - first)),
      ];
      children.push(spawn(process.execPath, args, { stdio: ['pipe', 'ignore', 'inherit'] }));
    }
    while (plane.hub.connectedNodes < count) await pause(100);
    // Jobs on all of the nodes, each of as many as the nodes allow.
    const jobs = Math.max(1, Math.floor(count / nodesOfJob));
    for (let job = 0; job < jobs; job += 1) await store.create<ProcessGroup>(processGroupType, jobOf(job));
    const isRunning = ({ status }: ProcessGroup): boolean => status?.phase === 'Running';
    while (!(await store.list<ProcessGroup>(processGroupType, {})).items.every(isRunning)) await pause(100);
    // The first rounds say what nobody knew.
    await pause(settleMs);
    const sumOf = (): number => [...writes.values()].reduce((sum, each) => sum + each, 0);
    // Each node writes once in that time.
    const windowSeconds = Math.max(seconds, measuredEveryMs(count) / 1000);
    const [before, byKind, usedBefore] = [sumOf(), new Map(writes), process.cpuUsage()];
    await pause(windowSeconds * 1000);
    const used = process.cpuUsage(usedBefore);
    const perSecond = (sumOf() - before) / windowSeconds;
    const of = [...writes].map(([kind, n]) => [
      kind,
      Math.round(((n - (byKind.get(kind) ?? 0)) * 60) / windowSeconds),
    ]);
    const common = { agents: count, jobs, connected: plane.hub.connectedNodes };
    print({ bench: 'store-writes', ...common, seconds: windowSeconds, value: rounded(perSecond), unit: 'a second', aMinute: Object.fromEntries(of) as object }); // prettier-ignore
    const cpu = (used.user + used.system) / 1e4 / windowSeconds;
    print({ bench: 'controllers-cpu', ...common, value: rounded(cpu), unit: '% of a core' });
    print({ bench: 'controllers-memory', ...common, value: mebibytes(process.pid), unit: 'MiB' });
  } finally {
    for (const child of children) child.kill('SIGKILL');
    stop.abort();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The store, with each write noted by what is done to what. */
function countingWrites(store: FileStore, writes: Map<string, number>): FileStore {
  return new Proxy(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (!['create', 'update', 'updateStatus', 'patch', 'delete'].includes(String(name)))
        return value.bind(target) as unknown;
      return (...given: unknown[]): unknown => {
        const { plural } = given[0] as { plural: string };
        const kind = `${String(name)} ${plural}`;
        writes.set(kind, (writes.get(kind) ?? 0) + 1);
        return value.apply(target, given) as unknown;
      };
    },
  });
}

function jobOf(job: number): ProcessGroup {
  const nodes = Array.from({ length: nodesOfJob }, (_, at) => `node${job * nodesOfJob + at}`);
  return {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name: `job${job}`, namespace: 'default' },
    spec: {
      size: nodesOfJob * 2,
      processes: [{ name: 'all', ranks: `0-${nodesOfJob * 2 - 1}`, command: ['/bin/true'] }],
      placement: { nodes, ranksPerNode: 2 },
    },
  };
}
