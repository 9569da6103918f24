/**
 * Spans of what the control plane sees come about: launches with their placement and the agents' part, checkpoints and migrations with
 * their phases. Told
 * once it is on record, with the times at which this process saw each step; what had begun before it led is not told. Ids follow from
 * uids (wire/trace.ts), so that what agents tell falls into place.
 */
import { conditionOf, isTrue } from '../crds/conditions.ts';
import type { Checkpoint, Migration, ProcessGroup } from '../crds/types.gen.ts';
import { launchOf, saveOf, spanIdOf, type Trace, traceIdOf } from '../wire/trace.ts';
import { expandPlacement } from './placement/placement-status.ts';
import type { Clock } from './runtime/clock.ts';

interface Launch {
  readonly seenMs: number;
  placedMs?: number;
}

/** A Checkpoint or Migration on its way: since when, and in which phase since when. */
interface Save {
  readonly seenMs: number;
  readonly phase: string;
  readonly sinceMs: number;
}

export class PlaneTraces {
  readonly #trace: Trace;
  readonly #clock: Clock;
  readonly #launches = new Map<string, Launch>();
  readonly #saves = new Map<string, Save>();

  constructor(trace: Trace, clock: Clock) {
    this.#trace = trace;
    this.#clock = clock;
  }

  groupChanged(after: ProcessGroup | undefined, before: ProcessGroup | undefined): void {
    const uid = (after ?? before)?.metadata.uid ?? '';
    const status = after?.status;
    if (!after || status?.finishTime) {
      if (after && status && !status.runningTime)
        this.#launched(after, isTrue(status.conditions, 'Succeeded'));
      return void this.#launches.delete(uid);
    }
    const launch = this.#launches.get(uid);
    if (!launch && !status?.startTime) this.#launches.set(uid, { seenMs: this.#clock.now() });
    else if (launch && launch.placedMs === undefined && status?.startTime)
      launch.placedMs = this.#clock.now();
    if (status?.runningTime && !before?.status?.runningTime) this.#launched(after, true);
    if (status?.runningTime) this.#launches.delete(uid);
  }

  checkpointChanged(after: Checkpoint | undefined): void {
    if (!after) return;
    const { status } = after;
    const [ready, failed] = [isTrue(status?.conditions, 'Ready'), isTrue(status?.conditions, 'Failed')];
    this.#saved('checkpoint', after, ready || failed, failed, { bytes: status?.imageBytes ?? 0 });
  }

  migrationChanged(after: Migration | undefined): void {
    if (!after) return;
    const { status } = after;
    const [completed, failed] = [
      isTrue(status?.conditions, 'Completed'),
      isTrue(status?.conditions, 'Failed'),
    ];
    const downtime = status?.downtimeMilliseconds ?? 0;
    this.#saved('migration', after, completed || failed, failed, { 'downtime.ms': downtime });
  }

  #launched(group: ProcessGroup, isGood: boolean): void {
    const { uid = '', name = '', namespace = 'default' } = group.metadata;
    const launch = this.#launches.get(uid);
    if (launch?.placedMs === undefined) return;
    const { seenMs, placedMs } = launch;
    const placement = expandPlacement(group.status?.placement);
    const whole = launchOf(uid, placement[0]?.incarnation ?? 1);
    const traceId = traceIdOf(whole);
    const endMs = this.#clock.now();
    const attributes = { 'muster.group': `${namespace}/${name}`, 'muster.ranks': group.spec.size ?? 0 };
    const why = conditionOf(group.status?.conditions, 'Failed')?.message ?? 'it ended before all ranks ran';
    const error = isGood ? {} : { error: why };
    const root = spanIdOf(whole);
    this.#trace({ traceId, spanId: root, name: 'launch', startMs: seenMs, endMs, attributes, ...error });
    const child = { traceId, parentId: root, attributes };
    this.#trace({
      ...child,
      spanId: spanIdOf(whole, 'place'),
      name: 'place',
      startMs: seenMs,
      endMs: placedMs,
    });
    const nodes = new Set(placement.map(({ node }) => node)).size;
    const agents = { ...child, attributes: { ...attributes, 'muster.nodes': nodes } };
    this.#trace({ ...agents, spanId: spanIdOf(whole, 'agents'), name: 'agents', startMs: placedMs, endMs });
  }

  #saved(
    name: string,
    { metadata, spec, status }: Checkpoint | Migration,
    isOver: boolean,
    failed: boolean,
    more: Readonly<Record<string, number>>,
  ): void {
    const { uid = '', namespace = 'default' } = metadata;
    const nowMs = this.#clock.now();
    const { phase = 'Pending' } = status ?? {};
    const save = this.#saves.get(uid) ?? { seenMs: nowMs, phase, sinceMs: nowMs };
    if (isOver && !this.#saves.has(uid)) return;
    const whole = saveOf(uid);
    const attributes = {
      'muster.group': `${namespace}/${spec.processGroupName}`,
      [`muster.${name}`]: metadata.name ?? '',
    };
    const common = { traceId: traceIdOf(whole), endMs: nowMs };
    if (phase !== save.phase && save.phase !== 'Pending') {
      const step = save.phase.toLowerCase();
      const child = { spanId: spanIdOf(whole, step), parentId: spanIdOf(whole), startMs: save.sinceMs };
      this.#trace({ ...common, ...child, name: step, attributes });
    }
    if (!isOver)
      return void this.#saves.set(uid, phase === save.phase ? save : { ...save, phase, sinceMs: nowMs });
    this.#saves.delete(uid);
    const why = conditionOf(status?.conditions, 'Failed')?.message ?? '';
    this.#trace({
      ...common,
      spanId: spanIdOf(whole),
      name,
      startMs: save.seenMs,
      attributes: { ...attributes, ...more },
      ...(failed ? { error: why } : {}),
    });
  }
}
