/**
 * Muster on a real Kubernetes API server: from the creation of a group to its first rank and to its end, beside the round trips that
 * any controller of a plain Job would need; a thousand groups at once; what controllers cost when nothing happens, and with ten
 * thousand groups. `MUSTER_BENCH_GROUPS` and `MUSTER_BENCH_HELD` change the numbers.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { conditionOf, type ConditionType } from '../crds/conditions.ts';
import type { ProcessGroup } from '../crds/types.gen.ts';
import { processGroupType } from '../controllers/resource-types.ts';
import { KubeCluster } from '../test/kube/cluster.ts';
import { MusterOnKube, groupOf } from '../test/kube/muster.ts';
import { cpuMsOf, memoryMiBOf } from './kit/process-cost.ts';
import { median, print, rounded } from './kit/report.ts';

const rounds = Number(process.env['MUSTER_BENCH_ROUNDS'] ?? 15);
const many = Number(process.env['MUSTER_BENCH_GROUPS'] ?? 1000);
const held = Number(process.env['MUSTER_BENCH_HELD'] ?? 10_000);
const idleMs = 20_000;

await using cluster = await KubeCluster.start();
await cluster.installCrds();
await using muster = await MusterOnKube.start(cluster, { controllers: 2, nodes: ['node1'] });
const { store } = muster;

await oneGroup();
await manyGroups();
await idle('after them');
await heldGroups();

async function oneGroup(): Promise<void> {
  const running: number[] = [];
  const ended: number[] = [];
  const trips: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const first = await timedGroup(`sleep-${round + 1}`, ['sleep', '0.3'], 'Running');
    const last = await timedGroup(`true-${round + 1}`, ['true'], 'Succeeded');
    const plain = await roundTrips(`trip-${round + 1}`);
    if (round < 0) continue;
    running.push(first);
    ended.push(last);
    trips.push(plain);
  }
  const against = { roundTrips: rounded(median(trips)) };
  print({ bench: 'kube', what: 'create to Running', value: rounded(median(running)), unit: 'ms', against });
  print({ bench: 'kube', what: 'create to Succeeded', value: rounded(median(ended)), unit: 'ms', against });
  const walls: number[] = [];
  for (let round = 0; round < 5; round++) {
    const startedAt = performance.now();
    await muster.apply(groupOf(`kubectl-${round}`, { command: ['true'] }));
    await cluster.kubectl('wait', '--for=condition=Succeeded', `pg/kubectl-${round}`);
    walls.push(performance.now() - startedAt);
  }
  print({ bench: 'kube', what: 'kubectl apply and kubectl wait', value: rounded(median(walls)), unit: 'ms' });
}

async function timedGroup(name: string, command: readonly string[], type: ConditionType): Promise<number> {
  const stop = new AbortController();
  const { resourceVersion } = await store.list(processGroupType, { limit: 1 });
  const events = store.watch<ProcessGroup>(processGroupType, { resourceVersion }, stop.signal);
  const startedAt = performance.now();
  const made = store.create(processGroupType, JSON.parse(groupOf(name, { command })) as ProcessGroup);
  try {
    for await (const { object } of events) {
      if (object.metadata.name === name && conditionOf(object.status?.conditions, type)?.status === 'True')
        break;
    }
    await made;
  } finally {
    stop.abort();
  }
  return performance.now() - startedAt;
}

/** Creation, reading, and two writes of a status: the least that a controller of anything does for one object. */
async function roundTrips(name: string): Promise<number> {
  const startedAt = performance.now();
  const body = (phase: string): object => ({ status: { conditions: [], startTime: phase } });
  const job = {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name },
    spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'a', image: 'b' }] } } },
  };
  const path = '/apis/batch/v1/namespaces/default/jobs';
  await store.requestJson({ method: 'POST', path, body: job });
  await store.requestJson({ method: 'GET', path: `${path}/${name}` });
  for (const time of ['2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z']) {
    const contentType = 'application/merge-patch+json';
    await store.requestJson({
      method: 'PATCH',
      path: `${path}/${name}/status`,
      body: body(time),
      contentType,
    });
  }
  return performance.now() - startedAt;
}

async function manyGroups(): Promise<void> {
  const names = Array.from({ length: many }, (_, i) => `many-${i}`);
  const startedAt = performance.now();
  await createAll(names, { command: ['true'], labels: { bench: 'many' } });
  const createdMs = performance.now() - startedAt;
  await untilAll(
    'bench=many',
    many,
    (group) => conditionOf(group.status?.conditions, 'Succeeded')?.status === 'True',
  );
  const seconds = (performance.now() - startedAt) / 1000;
  print({
    bench: 'kube',
    what: 'groups at once',
    groups: many,
    value: rounded(many / seconds),
    unit: '1/s',
    seconds: rounded(seconds),
    createdSeconds: rounded(createdMs / 1000),
  });
}

async function heldGroups(): Promise<void> {
  const leader = await muster.leader();
  const cpuBefore = cpuMsOf(muster.controllerPid(leader)!);
  const startedAt = performance.now();
  const names = Array.from({ length: held }, (_, i) => `held-${i}`);
  await createAll(names, { spec: { suspend: true }, labels: { bench: 'held' } });
  await untilAll('bench=held', held, (group) => group.status?.conditions !== undefined);
  const seconds = (performance.now() - startedAt) / 1000;
  const cpuMs = cpuMsOf(muster.controllerPid(leader)!) - cpuBefore;
  print({
    bench: 'kube',
    what: 'suspended groups made and visited',
    groups: held,
    value: rounded(held / seconds),
    unit: '1/s',
    controllerCpuMsEach: rounded(cpuMs / held),
  });
  print({
    bench: 'kube',
    what: 'memory of the leader',
    groups: held + many,
    value: rounded(memoryMiBOf(muster.controllerPid(leader)!)),
    unit: 'MiB',
  });
  await idle('with all of them');
  await muster.stopController(leader, 'SIGKILL');
  const killedAt = performance.now();
  await muster.untilLed();
  while ((await muster.leader()) === leader) await pause(50);
  const ledMs = performance.now() - killedAt;
  await muster.apply(groupOf('taken-over', { command: ['true'] }));
  await muster.until('taken-over', 'Succeeded', 60_000);
  print({
    bench: 'kube',
    what: 'takeover after kill -9',
    groups: held,
    value: rounded(ledMs / 1000),
    unit: 's',
    firstJobSeconds: rounded((performance.now() - killedAt) / 1000),
  });
}

async function idle(when: string): Promise<void> {
  const leader = await muster.leader();
  for (const [role, index] of [
    ['leader', leader],
    ['standby', 1 - leader],
  ] as const) {
    const pid = muster.controllerPid(index)!;
    const before = cpuMsOf(pid);
    await pause(idleMs);
    const percent = ((cpuMsOf(pid) - before) / idleMs) * 100;
    print({
      bench: 'kube',
      what: `idle ${role} ${when}`,
      value: rounded(percent),
      unit: '% of a core',
      memoryMiB: rounded(memoryMiBOf(pid)),
    });
  }
}

async function createAll(
  names: readonly string[],
  options: { command?: readonly string[]; spec?: object; labels: Record<string, string> },
): Promise<void> {
  const left = names.values();
  const work = async (): Promise<void> => {
    for (const name of left) {
      const group = JSON.parse(groupOf(name, options)) as ProcessGroup;
      await store.create(processGroupType, {
        ...group,
        metadata: { ...group.metadata, labels: options.labels },
      });
    }
  };
  await Promise.all(Array.from({ length: 32 }, work));
}

async function untilAll(
  labelSelector: string,
  count: number,
  done: (group: ProcessGroup) => boolean,
): Promise<void> {
  const stop = new AbortController();
  const finished = new Set<string>();
  for await (const { object } of store.watch<ProcessGroup>(
    processGroupType,
    { labelSelector },
    stop.signal,
  )) {
    if (done(object)) finished.add(object.metadata.name);
    if (finished.size >= count) break;
  }
  stop.abort();
}
