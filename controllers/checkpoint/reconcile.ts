/**
 * The Checkpoint controller: read, decide by the protocol's table, write status, tell agents. What is told follows from the step on
 * record alone, so that a controller that comes back says the same. Of an object that goes, the attempt is aborted and the
 * images are removed first; a lost node holds up neither.
 */
import { constants } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { finalizers } from '../../crds/names.ts';
import { parseNodeList } from '../../crds/node-list.ts';
import type { Checkpoint, CheckpointStatus } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { CheckpointOrder, Sent } from '../../wire/agent-types.ts';
import { stepOfCut, type CutState } from '../../wire/checkpoint-protocol.ts';
import type { Hub } from '../hub/hub.ts';
import { assignmentsOf } from '../process-group/observe.ts';
import { checkpointType } from '../resource-types.ts';
import { groupKeyOf } from '../runtime/by-group.ts';
import type { EventRecorder } from '../runtime/event-recorder.ts';
import { nameOf, settled, type Key, type Outcome, type Reconciler } from '../runtime/reconciler.ts';
import { advanceOf, timeLeftMs, type Advance } from './advance.ts';
import { copyWishes, removalWishes, storageOf } from './copies.ts';
import { keepOrphans } from './orphans.ts';
import { observe, type ObservePorts } from './observe.ts';
import { isDone, type CheckpointSeen } from './seen.ts';
import { statusOf } from './status.ts';

export interface CheckpointPorts extends ObservePorts {
  readonly store: ObjectStore;
  readonly hub: Pick<Hub, 'facts' | 'nodes' | 'desired'>;
  readonly events: EventRecorder;
  readonly logger: Logger;
  /** For tests: see ControlPlaneOptions. */
  readonly reached?: (point: string) => void;
  /** A group may have waited for this. */
  readonly groupChanged: (uid: string) => void;
}

/** Progress alone is written no more often than this, and no sooner after a step: the next one may come while it is written. */
const progressEveryMs = 500;
/** Agents hold a sandbox no longer than this, whatever the deadline: its controllers may be gone. */
const holdAtMostMs = 10 * 60_000;
const removedWithinMs = 1000;

export class CheckpointReconciler implements Reconciler {
  readonly name = 'checkpoint';
  readonly #ports: CheckpointPorts;
  readonly #keys = new Map<string, Key>();
  readonly #progressMs = new Map<string, number>();
  /** By the key of the group. */
  readonly #begun = new Map<Key, Key>();

  constructor(ports: CheckpointPorts) {
    this.#ports = ports;
  }

  keyOf(uid: string): Key | undefined {
    return this.#keys.get(uid);
  }

  async reconcile(key: Key, signal: AbortSignal): Promise<Outcome> {
    const checkpoint = await this.#read(key, signal);
    if (!checkpoint) return settled;
    const { uid = '' } = checkpoint.metadata;
    this.#keys.set(uid, key);
    const seen = observe(checkpoint, { ...this.#ports, begun: this.#begun });
    const advance = advanceOf(seen);
    this.#noteBegun(key, checkpoint, advance);
    let current = await this.#keepFinalizers(checkpoint, advance.to, signal);
    const status = statusOf(seen, advance);
    const isStep = advance.from !== advance.to;
    if (isStep) this.#ports.reached?.(`cut ${advance.to} decided`);
    const waitMs = await this.#writeStatus(current, status, advance, signal);
    if (waitMs > 0) return { kind: 'again', afterMs: waitMs };
    if (isStep) this.#ports.reached?.(`cut ${advance.to} written`);
    this.#tell(seen, advance);
    if (isStep) {
      this.#ports.reached?.(`cut ${advance.to} told`);
      this.#told(seen, advance, status);
      return { kind: 'again', afterMs: 1 };
    }
    if (checkpoint.metadata.deletionTimestamp !== undefined && isDone(advance.to)) {
      current = { ...current, status };
      // Who is being brought back needs the images until it runs.
      if (seen.restoring.length > 0) return { kind: 'again', afterMs: removedWithinMs };
      return this.#remove(seen, current, signal);
    }
    if (isDone(advance.to)) return settled;
    return { kind: 'again', afterMs: Math.max(1, Math.ceil(timeLeftMs(seen))) };
  }

  /** Nothing is awaited between this and the look at who has begun: of two that are visited at once, one waits. */
  #noteBegun(key: Key, checkpoint: Checkpoint, { from, to }: Advance): void {
    const group = groupKeyOf(checkpoint);
    if (from === 'Waiting' && to === 'Preparing') this.#begun.set(group, key);
    else if (isDone(to) && this.#begun.get(group) === key) this.#begun.delete(group);
  }

  async #read(key: Key, signal: AbortSignal): Promise<Checkpoint | undefined> {
    try {
      return await this.#ports.store.get<Checkpoint>(checkpointType, nameOf(key), signal);
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  /**
   * Held before anything is frozen, so that a deletion waits until all is thawed and the images are gone. Who takes one away from
   * what is done, as an uninstallation does, is not contradicted.
   */
  async #keepFinalizers(checkpoint: Checkpoint, to: CutState, signal: AbortSignal): Promise<Checkpoint> {
    const { metadata, spec } = checkpoint;
    if (metadata.deletionTimestamp !== undefined) return checkpoint;
    const held = metadata.finalizers ?? [];
    const { name: unfinished } = finalizers.checkpoint;
    const { name: images } = finalizers.images;
    const wanted = held.filter((name) => name !== unfinished && name !== images);
    if (!isDone(to)) wanted.push(unfinished);
    const keepsImages = to !== 'Failed' && spec.deletionPolicy !== 'Retain';
    if (keepsImages && (!isDone(to) || held.includes(images))) wanted.push(images);
    if (isDeepStrictEqual(new Set(wanted), new Set(held))) return checkpoint;
    return this.#patchFinalizers(checkpoint, wanted, signal);
  }

  #patchFinalizers({ metadata }: Checkpoint, wanted: string[], signal: AbortSignal): Promise<Checkpoint> {
    const { namespace, name, resourceVersion } = metadata;
    const patch = { metadata: { resourceVersion, finalizers: wanted } };
    return this.#ports.store.patch<Checkpoint>(
      checkpointType,
      { namespace, name },
      { type: 'merge', patch },
      undefined,
      signal,
    );
  }

  /** How long to wait before it is written. */
  async #writeStatus(
    checkpoint: Checkpoint,
    status: CheckpointStatus,
    { from, to }: Advance,
    signal: AbortSignal,
  ): Promise<number> {
    const next = JSON.parse(JSON.stringify(status)) as CheckpointStatus;
    const before = JSON.parse(JSON.stringify(checkpoint.status ?? {})) as CheckpointStatus;
    if (isDeepStrictEqual(before, next)) return 0;
    const { uid = '' } = checkpoint.metadata;
    const { store, clock } = this.#ports;
    if (isDone(to)) this.#progressMs.delete(uid);
    else {
      const leftMs = (this.#progressMs.get(uid) ?? 0) + progressEveryMs - clock.steady();
      if (from === to && leftMs > 0) return leftMs;
      this.#progressMs.set(uid, clock.steady());
    }
    await store.updateStatus<Checkpoint>(checkpointType, { ...checkpoint, status: next }, signal);
    return 0;
  }

  #tell(seen: CheckpointSeen, { from, to }: Advance): void {
    const { desired } = this.#ports.hub;
    const { checkpoint, group } = seen;
    const { uid = '' } = checkpoint.metadata;
    const groupUid = checkpoint.status?.processGroupUid ?? group?.metadata.uid;
    if (groupUid !== undefined) {
      const order = orderOf(seen, to);
      const incarnations = seen.members.map(({ incarnation }) => incarnation);
      if (order) desired.order(groupUid, { order, incarnations });
      else if (desired.orderedCheckpoint(groupUid) === uid) desired.order(groupUid, undefined);
    }
    if (to === 'Ready' && from === 'Ready' && checkpoint.metadata.deletionTimestamp === undefined)
      for (const { node, wish } of copyWishes(seen)) desired.wantImage(node, wish);
  }

  #told(seen: CheckpointSeen, { from, to, failure }: Advance, status: CheckpointStatus): void {
    const { events, logger, groupChanged } = this.#ports;
    const { checkpoint, group } = seen;
    const { namespace, name } = checkpoint.metadata;
    logger.info({ checkpoint: `${namespace}/${name}`, from, to, ...failure }, 'checkpoint goes on');
    if (to === 'Failed') {
      const failed = status.conditions?.find(({ type }) => type === 'Failed');
      const note = { type: 'Warning', reason: failed?.reason ?? '', message: failed?.message ?? '' } as const;
      events.record(checkpoint, note);
      if (group) events.record(group, { ...note, message: `Checkpoint ${name}: ${note.message}` });
    }
    if (to === 'Ready') {
      const message = `Checkpoint ${name} is restorable: ${status.imageSize} of ${status.size} ranks`;
      events.record(checkpoint, { type: 'Normal', reason: 'Restorable', message });
      if (group) events.record(group, { type: 'Normal', reason: 'Restorable', message });
    }
    if (isDone(to) && group?.metadata.uid !== undefined) groupChanged(group.metadata.uid);
  }

  /** A node that is away is waited for until it counts as lost. */
  async #remove(seen: CheckpointSeen, checkpoint: Checkpoint, signal: AbortSignal): Promise<Outcome> {
    const { desired } = this.#ports.hub;
    const { metadata, spec } = checkpoint;
    if (spec.deletionPolicy !== 'Retain') {
      for (const { node, wish } of removalWishes(seen)) desired.wantImage(node, wish);
      const held = seen.members.some(({ fact, standing }) => fact?.held === true && standing !== 'Lost');
      if (held || seen.images.some(({ standing }) => standing !== 'Lost'))
        return { kind: 'again', afterMs: removedWithinMs };
      for (const node of lostHolders(seen))
        await keepOrphans(this.#ports.store, node, metadata.uid ?? '', signal);
    }
    const own: readonly string[] = [finalizers.checkpoint.name, finalizers.images.name];
    const held = metadata.finalizers ?? [];
    const left = held.filter((name) => !own.includes(name));
    const { uid = '' } = metadata;
    desired.forgetImages(uid);
    this.#keys.delete(uid);
    this.#progressMs.delete(uid);
    if (left.length === held.length) return settled;
    try {
      await this.#patchFinalizers(checkpoint, left, signal);
    } catch (error) {
      if (!isStoreError(error, 'NotFound')) throw error;
    }
    return settled;
  }
}

/** Lost nodes that may have images of it. */
function lostHolders({ checkpoint, members, images, standingOf }: CheckpointSeen): string[] {
  const { nodes = '', lostNodes = '' } = checkpoint.status ?? {};
  const all = [
    ...members.map(({ node }) => node),
    ...images.map(({ node }) => node),
    ...parseNodeList(nodes),
    ...parseNodeList(lostNodes),
  ];
  return [...new Set(all)].filter((node) => standingOf(node) === 'Lost');
}

/** The group still has the sandboxes that were saved. */
function isThere({ group, members }: CheckpointSeen): boolean {
  const now = group ? assignmentsOf(group) : [];
  return (
    now.length === members.length && now.every((each, i) => each.incarnation === members[i]!.incarnation)
  );
}

function orderOf(seen: CheckpointSeen, to: CutState): Sent<CheckpointOrder> | undefined {
  const { checkpoint, group } = seen;
  const { metadata, spec } = checkpoint;
  const isStop = spec.then === 'Stop';
  // Who is to be ended stays frozen until that is done, or called off.
  const isHeld = to === 'Ready' && isStop && isThere(seen);
  const step = isHeld ? 'Commit' : stepOfCut[to];
  if (step === undefined) return undefined;
  const policy = group?.spec.checkpointPolicy;
  return {
    checkpointUid: metadata.uid ?? '',
    step,
    name: `${metadata.namespace ?? 'default'}/${metadata.name}`,
    holdAtMostMs: Math.min(holdAtMostMs, (spec.deadlineSeconds ?? 3600) * 1000),
    hold: isStop && metadata.deletionTimestamp === undefined,
    engine: policy?.engine ?? 'Auto',
    openFiles: policy?.openFiles ?? 'Truncate',
    externalConnections: group?.spec.externalConnections ?? 'Refuse',
    storage: storageOf(seen) ?? '',
    signal: policy?.signal === undefined ? 0 : constants.signals[policy.signal],
    signalMs: (policy?.signalSeconds ?? 1) * 1000,
  };
}
