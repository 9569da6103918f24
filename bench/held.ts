/**
 * What a home that has long been used costs: ten thousand groups that have ended, with what their node keeps of them, beside the
 * same home with a single one. The start, one more job, lists by `muster` and by kubectl, daemons that have nothing to do, their memory,
 * and the snapshot that replaces the journal. `MUSTER_BENCH_HELD` changes the number.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { processGroupType } from '../controllers/resource-types.ts';
import type { ProcessGroup } from '../crds/types.gen.ts';
import { FileStore } from '../store/file/file-store.ts';
import { musterTypes } from '../store/muster-types.ts';
import { Cluster } from './kit/cluster.ts';
import { run, timed, type Command } from './kit/command.ts';
import { cpuMsOf, memoryMiBOf } from './kit/process-cost.ts';
import { median, print, rounded } from './kit/report.ts';

const held = Number(process.env['MUSTER_BENCH_HELD'] ?? 10_000);
const rounds = Number(process.env['MUSTER_BENCH_ROUNDS'] ?? 5);
const idleMs = 10_000;
const kubectl = execFileSync('scripts/kubectl.sh', { encoding: 'utf8' }).trim();

const units = {
  start: 'ms',
  'first job after it': 'ms',
  'one more job': 'ms',
  'muster get pg': 'ms',
  'kubectl get pg': 'ms',
  'kubectl get pg -o json': 'ms',
  'idle controller': '% of a core',
  'idle agent': '% of a core',
  'memory of the controller': 'MiB',
  'memory of the agent': 'MiB',
  snapshot: 'ms',
} as const;
type Name = keyof typeof units;

const ended: ProcessGroup = {
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name: 'ended' },
  spec: { size: 1, processes: [{ name: 'all', ranks: '0', command: ['true'] }], pmi: 'None' },
};

await using cluster = await Cluster.up(1);
const manifest = path.join(cluster.home, 'ended.json');
writeFileSync(manifest, JSON.stringify(ended));
await run(cluster.command('apply', '-f', manifest));
await run(cluster.command('wait', '--for', 'Succeeded', 'ended'));
const kubeEnvironment = {
  KUBECONFIG: path.join(cluster.home, 'kubeconfig'),
  KUBECACHEDIR: path.join(cluster.home, 'kubectl-cache'),
};
const { stdout } = await run(cluster.command('get', 'pg', 'ended', '-o', 'json'));
await run(cluster.command('down'));
const few = await figures();
await fill(JSON.parse(stdout) as ProcessGroup);
const many = await figures();
for (const name of Object.keys(units) as Name[])
  print({
    bench: 'held',
    what: name,
    groups: held,
    value: rounded(many[name]),
    unit: units[name],
    against: { oneGroup: rounded(few[name]) },
    ratio: rounded(many[name] / few[name]),
  });

/** Of the home as it is, which is down before and after. */
async function figures(): Promise<Readonly<Record<Name, number>>> {
  const startMs = await cluster.start(1);
  const firstJobMs = await timed(cluster.run(1, 'true'), 0);
  const idle = await idleDaemons();
  const kube = (...args: string[]): Command => ({ file: kubectl, args, env: kubeEnvironment });
  const measured = {
    start: startMs,
    'first job after it': firstJobMs,
    ...idle,
    'one more job': await medianOf(cluster.run(1, 'true')),
    'muster get pg': await medianOf(cluster.command('get', 'pg')),
    'kubectl get pg': await medianOf(kube('get', 'pg')),
    'kubectl get pg -o json': await medianOf(kube('get', 'pg', '-o', 'json')),
  };
  await run(cluster.command('down'));
  return { ...measured, snapshot: await snapshotMs() };
}

async function medianOf(command: Command): Promise<number> {
  await run(command);
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) times.push((await run(command)).wallMs);
  return median(times);
}

async function idleDaemons() {
  const controller = cluster.pidOf('controller');
  const agent = cluster.pidOf('node1');
  const [controllerMs, agentMs] = [cpuMsOf(controller), cpuMsOf(agent)];
  await pause(idleMs);
  return {
    'idle controller': ((cpuMsOf(controller) - controllerMs) / idleMs) * 100,
    'idle agent': ((cpuMsOf(agent) - agentMs) / idleMs) * 100,
    'memory of the controller': memoryMiBOf(controller),
    'memory of the agent': memoryMiBOf(agent),
  };
}

/** As many as there would be had they all run, by the record of one that did. */
async function fill(like: ProcessGroup): Promise<void> {
  await using store = await openStore();
  const sandboxes = path.join(cluster.home, 'nodes/node1/state/sandboxes');
  const { uid: likeUid = '' } = like.metadata;
  const files = readdirSync(path.join(sandboxes, `${likeUid}-0-1`), { withFileTypes: true }).map((entry) => ({
    name: entry.name,
    text: entry.isFile() ? readFileSync(path.join(entry.parentPath, entry.name), 'latin1') : undefined,
  }));
  const make = async (name: string): Promise<void> => {
    const { finalizers } = like.metadata;
    const made = await store.create<ProcessGroup>(processGroupType, {
      ...like,
      metadata: { name, namespace: 'default', ...(finalizers ? { finalizers } : {}) },
    });
    await store.updateStatus<ProcessGroup>(processGroupType, {
      ...made,
      ...(like.status ? { status: like.status } : {}),
    });
    const { uid = '' } = made.metadata;
    const directory = path.join(sandboxes, `${uid}-0-1`);
    mkdirSync(directory, { mode: 0o700 });
    for (const { name: file, text } of files)
      if (text === undefined) mkdirSync(path.join(directory, file), { mode: 0o700 });
      else
        writeFileSync(path.join(directory, file), text.replaceAll(likeUid, uid), {
          encoding: 'latin1',
          mode: 0o600,
        });
  };
  const names = Array.from({ length: held - 1 }, (_, i) => `ended-${i}`).values();
  const work = async (): Promise<void> => {
    for (const name of names) await make(name);
  };
  await Promise.all(Array.from({ length: 256 }, work));
}

function openStore(): Promise<FileStore> {
  return FileStore.open({ directory: path.join(cluster.home, 'store'), types: musterTypes(), existed: true });
}

async function snapshotMs(): Promise<number> {
  await using store = await openStore();
  const startedAt = performance.now();
  await store.compact();
  return performance.now() - startedAt;
}
