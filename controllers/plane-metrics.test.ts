import { expect, test } from 'vitest';
import { controllerMetrics } from '../crds/metrics.ts';
import type { Checkpoint, Migration, ProcessGroup } from '../crds/types.gen.ts';
import { PlaneMetrics } from './plane-metrics.ts';
import { ManualClock } from './runtime/manual-clock.ts';

const group = (status: object): ProcessGroup =>
  ({ metadata: { uid: 'u', name: 'g' }, spec: {}, status }) as ProcessGroup;
const holds = (type: string) => ({
  conditions: [{ type, status: 'True', reason: 'R', message: '', lastTransitionTime: '' }],
});

async function lines(metrics: PlaneMetrics, clock: ManualClock): Promise<string> {
  clock.advance(1001);
  return metrics.text();
}

test('what becomes so while this controller leads is counted once, with how long it took', async () => {
  const clock = new ManualClock();
  const metrics = new PlaneMetrics(clock);
  const states = [{}, { startTime: 's' }, { startTime: 's', runningTime: 'r' }, { startTime: 's', runningTime: 'r', finishTime: 'f', ...holds('Succeeded') }]; // prettier-ignore
  for (const [at, state] of states.entries()) {
    metrics.groupChanged(group(state), at === 0 ? undefined : group(states[at - 1]!));
    clock.advance(2000);
  }
  const text = await lines(metrics, clock);
  expect(text).toContain('muster_operations_total{operation="launch",result="Succeeded"} 1');
  expect(text).toContain('muster_operations_total{operation="run",result="Succeeded"} 1');
  expect(text).toContain('muster_launch_duration_seconds_sum 2');
});

test('what a new leader finds done is not counted again', async () => {
  const clock = new ManualClock();
  const metrics = new PlaneMetrics(clock);
  metrics.groupChanged(group({ startTime: 's', runningTime: 'r', finishTime: 'f' }), undefined);
  const done = {
    metadata: { uid: 'c' },
    spec: { processGroupName: 'g' },
    status: holds('Ready'),
  } as unknown as Checkpoint;
  metrics.checkpointChanged(done, undefined);
  metrics.checkpointChanged(done, done);
  expect(await lines(metrics, clock)).not.toMatch(/^muster_operations_total\{/m);
});

test('checkpoints and migrations tell bytes and downtime', async () => {
  const clock = new ManualClock();
  const metrics = new PlaneMetrics(clock);
  const checkpoint = (status: object) => ({ metadata: { uid: 'c' }, spec: { processGroupName: 'g' }, status }) as unknown as Checkpoint; // prettier-ignore
  metrics.checkpointChanged(checkpoint({}), undefined);
  clock.advance(3000);
  metrics.checkpointChanged(checkpoint({ ...holds('Ready'), imageBytes: 4096 }), checkpoint({}));
  const migration = (status: object) =>
    ({ metadata: { uid: 'm' }, spec: {}, status }) as unknown as Migration;
  metrics.migrationChanged(migration({ ...holds('Failed') }), migration({}));
  metrics.migrationChanged(migration({ ...holds('Completed'), downtimeMilliseconds: 1500 }), migration({}));
  const text = await lines(metrics, clock);
  expect(text).toContain('muster_checkpoint_duration_seconds_sum 3');
  expect(text).toContain('muster_checkpoint_size_bytes_sum 4096');
  expect(text).toContain('muster_operations_total{operation="migration",result="Failed"} 1');
  expect(text).toContain('muster_migration_downtime_seconds_sum 1.5');
});

test('who does not lead tells of nothing but that; a leader of nodes, groups and queues', async () => {
  const clock = new ManualClock();
  const metrics = new PlaneMetrics(clock);
  expect(await lines(metrics, clock)).toMatch(/^muster_leading 0$/m);
  metrics.leads({
    groups: () => [
      group({ phase: 'Running', ranks: { running: 3 } }),
      group({ phase: 'Running', ranks: { running: 1 } }),
    ],
    monitors: () => [],
    standings: () => ['Connected', 'Lost'],
    queues: () => [['checkpoint', 2]],
    droppedFacts: () => 5,
  });
  const text = await lines(metrics, clock);
  for (const line of [
    'muster_leading 1',
    'muster_groups{phase="Running"} 2',
    'muster_ranks_running 4',
    'muster_nodes{standing="Lost"} 1',
    'muster_nodes{standing="Away"} 0',
    'muster_workqueue_depth{controller="checkpoint"} 2',
    'muster_facts_dropped_total 5',
    'muster_operations_total{operation="checkpoint",result="Failed"} 0',
  ])
    // prettier-ignore
    expect(text.split('\n')).toContain(line);
  const named = new Set([...text.matchAll(/^# TYPE (muster_\w+)/gm)].map(([, name]) => name));
  expect([...named].sort()).toEqual(Object.keys(controllerMetrics).sort());
  metrics.leads(undefined);
  expect(await lines(metrics, clock)).not.toContain('muster_groups{');
});
