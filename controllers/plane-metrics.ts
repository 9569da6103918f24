/**
 * What the control plane counts for Prometheus: by the statuses that it sees change, so that nothing is counted that is not on
 * record, and what a new leader finds done already is not counted again. It outlives the leading of one term; it decides nothing.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { isTrue } from '../crds/conditions.ts';
import { type ControllerMetric, controllerMetrics, type Metric } from '../crds/metrics.ts';
import { collectProcessMetrics } from '../crds/process-metrics.ts';
import type { Checkpoint, Migration, NodeMonitor, ProcessGroup } from '../crds/types.gen.ts';
import type { Standing } from './hub/node-table.ts';
import type { Clock } from './runtime/clock.ts';

/** What is looked at when somebody asks. */
export interface PlaneView {
  readonly groups: () => Iterable<ProcessGroup>;
  readonly monitors: () => Iterable<NodeMonitor>;
  readonly standings: () => Iterable<Standing>;
  readonly queues: () => Iterable<readonly [controller: string, waiting: number]>;
  readonly droppedFacts: () => number;
}

type Operation = 'launch' | 'run' | 'checkpoint' | 'migration';
type Metrics = Readonly<Record<ControllerMetric, Gauge | Counter | Histogram>>;

const standings = ['Connected', 'Away', 'Lost'] as const satisfies readonly Standing[];
const freshForMs = 1_000;

export class PlaneMetrics {
  readonly registry = new Registry();
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  /** Since when launches and checkpoints are under way, by uid. */
  readonly #sinceMs = new Map<string, number>();
  #view: PlaneView | undefined;
  #text: Promise<string> | undefined;
  #textMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
    const { registry } = this;
    const made = Object.entries(controllerMetrics).map(([name, metric]: [string, Metric]) => {
      const options = { name, help: metric.help, labelNames: [...metric.labels], registers: [registry] };
      if (metric.type === 'histogram')
        return [name, new Histogram({ ...options, buckets: [...(metric.buckets ?? [])] })];
      return [name, metric.type === 'counter' ? new Counter(options) : new Gauge(options)];
    });
    this.#metrics = Object.fromEntries(made) as Metrics;
    collectProcessMetrics(registry);
  }

  /** This process leads from now on; undefined: not any more. */
  leads(view: PlaneView | undefined): void {
    this.#view = view;
    this.#sinceMs.clear();
    if (!view) return;
    // A rise from nothing can only be seen where nothing was told before.
    const operations = this.#metrics.muster_operations_total as Counter;
    for (const operation of ['launch', 'run', 'checkpoint', 'migration'] satisfies Operation[])
      for (const result of ['Succeeded', 'Failed']) operations.inc({ operation, result }, 0);
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** Looked up no more often than once a second, however many ask. */
  text(): Promise<string> {
    const nowMs = this.#clock.steady();
    if (!this.#text || nowMs - this.#textMs >= freshForMs) {
      this.#textMs = nowMs;
      this.#collect();
      this.#text = this.registry.metrics();
    }
    return this.#text;
  }

  groupChanged(after: ProcessGroup | undefined, before: ProcessGroup | undefined): void {
    const uid = (after ?? before)?.metadata.uid ?? '';
    const [was, is] = [before?.status, after?.status];
    if (!after || !before) return void this.#sinceMs.delete(uid);
    if (!was?.startTime && is?.startTime) this.#sinceMs.set(uid, this.#clock.steady());
    if (!was?.runningTime && is?.runningTime)
      this.#done('launch', true, uid, 'muster_launch_duration_seconds');
    if (!was?.finishTime && is?.finishTime) {
      const succeeded = isTrue(is.conditions, 'Succeeded');
      if (!is.runningTime) this.#done('launch', succeeded, uid, 'muster_launch_duration_seconds');
      this.#count('run', succeeded);
    }
  }

  checkpointChanged(after: Checkpoint | undefined, before: Checkpoint | undefined): void {
    const uid = (after ?? before)?.metadata.uid ?? '';
    if (!after) return void this.#sinceMs.delete(uid);
    const [was, is] = [before?.status?.conditions, after.status?.conditions];
    const over = isTrue(is, 'Ready') || isTrue(is, 'Failed');
    if (!over && !this.#sinceMs.has(uid)) this.#sinceMs.set(uid, this.#clock.steady());
    if (!before || !over || isTrue(was, 'Ready') || isTrue(was, 'Failed')) return;
    this.#done('checkpoint', isTrue(is, 'Ready'), uid, 'muster_checkpoint_duration_seconds');
    const { imageBytes } = after.status ?? {};
    if (isTrue(is, 'Ready') && imageBytes !== undefined)
      (this.#metrics.muster_checkpoint_size_bytes as Histogram).observe(imageBytes);
  }

  migrationChanged(after: Migration | undefined, before: Migration | undefined): void {
    if (!after || !before) return;
    const [was, is] = [before.status?.conditions, after.status?.conditions];
    const over = isTrue(is, 'Completed') || isTrue(is, 'Failed');
    if (!over || isTrue(was, 'Completed') || isTrue(was, 'Failed')) return;
    this.#count('migration', isTrue(is, 'Completed'));
    const { downtimeMilliseconds } = after.status ?? {};
    if (downtimeMilliseconds !== undefined)
      (this.#metrics.muster_migration_downtime_seconds as Histogram).observe(downtimeMilliseconds / 1000);
  }

  /** One visit of an object begins; what this gives is called at its end. */
  visit(controller: string): (failed: boolean) => void {
    const begunMs = this.#clock.steady();
    return (failed) => {
      const seconds = (this.#clock.steady() - begunMs) / 1000;
      (this.#metrics.muster_reconcile_duration_seconds as Histogram).observe({ controller }, seconds);
      if (failed) (this.#metrics.muster_reconcile_errors_total as Counter).inc({ controller });
    };
  }

  #done(operation: Operation, succeeded: boolean, uid: string, histogram: ControllerMetric): void {
    this.#count(operation, succeeded);
    const sinceMs = this.#sinceMs.get(uid);
    this.#sinceMs.delete(uid);
    if (succeeded && sinceMs !== undefined)
      (this.#metrics[histogram] as Histogram).observe((this.#clock.steady() - sinceMs) / 1000);
  }

  #count(operation: Operation, succeeded: boolean): void {
    const result = succeeded ? 'Succeeded' : 'Failed';
    (this.#metrics.muster_operations_total as Counter).inc({ operation, result });
  }

  #collect(): void {
    const gauge = (name: ControllerMetric): Gauge => this.#metrics[name] as Gauge;
    for (const name of ['muster_nodes', 'muster_groups', 'muster_workqueue_depth'] as const)
      gauge(name).reset();
    gauge('muster_leading').set(this.#view ? 1 : 0);
    if (!this.#view) return;
    const { groups, monitors, queues, droppedFacts } = this.#view;
    for (const standing of standings) gauge('muster_nodes').set({ standing }, 0);
    for (const standing of this.#view.standings()) gauge('muster_nodes').inc({ standing });
    let running = 0;
    for (const { status } of groups()) {
      gauge('muster_groups').inc({ phase: status?.phase ?? 'Pending' });
      running += status?.ranks?.running ?? 0;
    }
    gauge('muster_ranks_running').set(running);
    const unhealthy = [...monitors()].filter(({ status }) =>
      status?.conditions?.some(({ type, status: holds }) => type === 'Healthy' && holds === 'False'),
    );
    gauge('muster_nodes_unhealthy').set(unhealthy.length);
    for (const [controller, waiting] of queues())
      gauge('muster_workqueue_depth').set({ controller }, waiting);
    const dropped = this.#metrics.muster_facts_dropped_total as Counter;
    dropped.reset();
    dropped.inc(droppedFacts());
  }
}
