/**
 * The ProcessGroup controller: read, decide, act, write status once, tell agents. Right from a cold start: what it must
 * not forget stands in status before anybody acts on it, the rest agents tell anew.
 */
import { isDeepStrictEqual } from 'node:util';
import { finalizers, ownController } from '../../crds/names.ts';
import type { ProcessGroup, ProcessGroupStatus } from '../../crds/types.gen.ts';
import { isStoreError } from '../../store/object-store.ts';
import { keyOf, nameOf, settled, type Key, type Outcome, type Reconciler } from '../runtime/reconciler.ts';
import { processGroupType } from '../resource-types.ts';
import { gitOpsNotes } from './gitops.ts';
import { observe, type ObservePorts } from './observe.ts';
import { perform, type PerformPorts } from './perform.ts';
import { phaseOf } from './phase.ts';
import { planOf } from './plan.ts';
import type { Seen } from './seen.ts';
import { ofOneRun, statusOf } from './status.ts';
import { restoredGroup, restoreNameOf } from './restore.ts';
import { eventsOf } from './transition-events.ts';
import { startsElsewhere } from './warden.ts';

export type ProcessGroupPorts = Omit<ObservePorts, 'removedForMs'> &
  Omit<PerformPorts, 'removed' | 'gone'> & {
    /** A group that ran is gone without a deletion: true when what agents hold of it is to be left alone. */
    readonly keepsVanished?: (key: Key, uid: string) => boolean;
  };

/**
 * That a group runs is written this much later: one that ends at once is spared a write, and who waits for its end the time
 * that the write takes. Agents are told nothing that depends on it.
 */
const startSettlesMs = 10;
/** Usage alone is written no more often than this. */
const usageEveryMs = 30_000;

export class ProcessGroupReconciler implements Reconciler {
  readonly name = 'process-group';
  readonly #ports: ObservePorts & PerformPorts;
  readonly #keepsVanished: ProcessGroupPorts['keepsVanished'];
  readonly #uids = new Map<Key, string>();
  readonly #keys = new Map<string, Key>();
  readonly #removedMs = new Map<string, number>();
  readonly #usageMs = new Map<string, number>();
  /** Groups that run, or may, and that nobody deletes. */
  readonly #alive = new Set<string>();
  /** Groups that are placed ahead of their record; settles when that is there, or will not be. */
  readonly #foreseen = new Map<Key, Promise<void>>();
  /** Since when groups run of which that is not on record yet. */
  readonly #startedMs = new Map<string, number>();

  constructor(ports: ProcessGroupPorts) {
    const { clock } = ports;
    this.#keepsVanished = ports.keepsVanished;
    this.#ports = {
      ...ports,
      removedForMs: (uid) => {
        const since = this.#removedMs.get(uid);
        return since === undefined ? undefined : clock.steady() - since;
      },
      removed: (uid) => {
        if (!this.#removedMs.has(uid)) this.#removedMs.set(uid, clock.steady());
      },
      gone: (uid) => this.#forget(uid),
    };
  }

  keyOf(uid: string): Key | undefined {
    return this.#keys.get(uid);
  }

  /**
   * A group on its way to the disk: where it can be placed at once, its placement goes there with it, and agents get its sandboxes
   * ready meanwhile. Nobody starts a rank before both are on disk; if they never are, agents forget what they have got ready.
   */
  foresee(group: ProcessGroup, signal: AbortSignal): void {
    const key = keyOf(group);
    if (!isForeseeable(group) || this.#foreseen.has(key)) return;
    const { uid = '' } = group.metadata;
    const { logger, networks } = this.#ports;
    const done = this.#prepare(group, signal)
      .catch(async (error: unknown) => {
        logger.info({ err: error, uid }, 'group not placed ahead of its record');
        this.#unwant(uid);
        await networks.release(uid, signal);
      })
      .catch((error: unknown) => logger.warn({ err: error, uid }, 'network of a group not given back'))
      .finally(() => this.#foreseen.delete(key));
    this.#foreseen.set(key, done);
  }

  async #prepare(group: ProcessGroup, signal: AbortSignal): Promise<void> {
    const { events, networks, store } = this.#ports;
    const seen = await this.#withNetwork(observe(group, this.#ports), signal);
    const phase = phaseOf(seen);
    if (phase !== 'Placing') return;
    const placed = { ...group, status: normalized(statusOf(seen, phase)) };
    // Agents first: theirs is the longer work.
    const wish = { want: 'Prepare', graceSeconds: 0, mayStart: true } as const;
    await perform({ kind: 'want', wishOf: () => wish }, seen, placed, this.#ports, signal);
    await store.updateStatus<ProcessGroup>(processGroupType, placed, signal);
    if (!(await networks.held(group.metadata.uid ?? ''))) throw new Error('another group has its network');
    for (const note of eventsOf(undefined, placed.status)) events.record(group, note);
  }

  async reconcile(key: Key, signal: AbortSignal): Promise<Outcome> {
    await this.#foreseen.get(key);
    const group = await this.#read(key, signal);
    const gone = this.#note(key, group);
    // Taken anew by a visit that had read the group just before it was seen to be gone.
    if (gone !== undefined) await this.#ports.networks.release(gone, signal);
    // Of another controller, on this cluster or by way of another one, as batch/Job has it: not ours to touch.
    if (!group || (group.spec.managedBy ?? ownController) !== ownController) return settled;
    const { saves } = this.#ports;
    const from = restoreNameOf(group);
    const whole = restoredGroup(group, from === undefined ? undefined : saves?.named(group.metadata, from));
    const seen = await this.#withNetwork(observe(whole, this.#ports, from), signal);
    const phase = phaseOf(seen);
    const plan = planOf(seen, phase);
    const warns = plan.after.some(({ kind }) => kind === 'warn');
    let current = group;
    for (const action of plan.before) current = await perform(action, seen, current, this.#ports, signal);
    const status = normalized(statusOf(seen, phase, warns));
    const settlesInMs = warns ? 0 : this.#startSettlesInMs(group, status);
    if (settlesInMs === 0) current = await this.#writeStatus(seen, current, status, signal);
    if (!(await this.#ports.networks.held(group.metadata.uid ?? ''))) {
      await this.#placeAgain(seen, current, signal);
      return { kind: 'again', afterMs: 0 };
    }
    for (const action of plan.after) current = await perform(action, seen, current, this.#ports, signal);
    if (settlesInMs > 0) return { kind: 'again', afterMs: settlesInMs };
    for (const note of [...gitOpsNotes(group), ...eventsOf(group.status, status)])
      this.#ports.events.record(group, note);
    return plan.againAfterMs === undefined
      ? settled
      : { kind: 'again', afterMs: Math.ceil(plan.againAfterMs) };
  }

  /** A group that can be placed gets its network first: it waits where there is none. */
  async #withNetwork(seen: Seen, signal: AbortSignal): Promise<Seen> {
    const { group, placing } = seen;
    const { status } = group;
    if (status?.network && status.finishTime === undefined) await this.#ports.networks.retake(group, signal);
    if (placing?.kind !== 'placed' || seen.network === 'Host' || phaseOf(seen) !== 'Placing') return seen;
    const { networks, hub } = this.#ports;
    const nodes = new Set(placing.sandboxes.map(({ node }) => node));
    const routes = [...nodes].flatMap((node) =>
      (hub.nodes.get(node)?.hello?.routes ?? []).map((range) => ({ range, of: `a route of ${node}` })),
    );
    // Ranks that are brought back have their addresses.
    const same = seen.restore?.checkpoint?.status?.network;
    const claim = await networks.take(group, placing.sandboxes.length, routes, signal, same);
    if (typeof claim !== 'string') return { ...seen, networkClaim: claim };
    return { ...seen, placing: { kind: 'waiting', reason: 'NoNetworkFree', message: claim } };
  }

  /** Another leader took the same network at the same time: nobody has been told of this one yet. */
  async #placeAgain(seen: Seen, current: ProcessGroup, signal: AbortSignal): Promise<void> {
    const { hub, logger, store } = this.#ports;
    const { uid = '' } = current.metadata;
    if (hub.desired.has(uid) || seen.sandboxes.some(({ known }) => known !== undefined)) {
      logger.error({ uid, network: current.status?.network }, 'two groups have the same network');
      return;
    }
    const status = normalized({ ...current.status, ...ofOneRun });
    await store.updateStatus<ProcessGroup>(processGroupType, { ...current, status }, signal);
  }

  #startSettlesInMs({ metadata, status: before }: ProcessGroup, status: ProcessGroupStatus): number {
    const { uid = '' } = metadata;
    const starts = status.phase === 'Running' && before?.phase === 'Starting';
    if (!starts) {
      this.#startedMs.delete(uid);
      return 0;
    }
    const nowMs = this.#ports.clock.steady();
    const sinceMs = this.#startedMs.get(uid) ?? nowMs;
    this.#startedMs.set(uid, sinceMs);
    return Math.max(0, sinceMs + startSettlesMs - nowMs);
  }

  async #read(key: Key, signal: AbortSignal): Promise<ProcessGroup | undefined> {
    try {
      return await this.#ports.store.get<ProcessGroup>(processGroupType, nameOf(key), signal);
    } catch (error) {
      // Without a name it is the kind that is not there: that says nothing of the group.
      if (isStoreError(error, 'NotFound') && error.details.name !== undefined) return undefined;
      throw error;
    }
  }

  async #writeStatus(
    seen: Seen,
    group: ProcessGroup,
    status: ProcessGroupStatus,
    signal: AbortSignal,
  ): Promise<ProcessGroup> {
    const { store } = this.#ports;
    const before = seen.group.status ?? {};
    if (isDeepStrictEqual(before, status) || isDeepStrictEqual(normalized(before), status)) return group;
    const { uid = '' } = group.metadata;
    const onlyUsage = isDeepStrictEqual(
      normalized({ ...before, usage: {} }),
      normalized({ ...status, usage: {} }),
    );
    const nowMs = this.#ports.clock.steady();
    const writtenMs = this.#usageMs.get(uid);
    if (onlyUsage && writtenMs !== undefined && nowMs - writtenMs < usageEveryMs) return group;
    this.#usageMs.set(uid, nowMs);
    // An agent's first word must not cost a write that whoever starts the ranks waits for.
    if (onlyUsage && writtenMs === undefined) return group;
    return store.updateStatus<ProcessGroup>(processGroupType, { ...group, status }, signal);
  }

  /** Keeps track of who has the name; whoever had it before is gone for good. Its uid, unless agents keep what they have of it. */
  #note(key: Key, group: ProcessGroup | undefined): string | undefined {
    const uid = group?.metadata.uid;
    const before = this.#uids.get(key);
    const isGone = before !== undefined && before !== uid;
    const isKept = isGone && this.#alive.has(before) && this.#keepsVanished?.(key, before) === true;
    if (isKept) this.#ports.hub.desired.lose(before);
    if (isGone) this.#forget(before);
    if (group !== undefined && uid !== undefined) {
      this.#uids.set(key, uid);
      this.#keys.set(uid, key);
      if (isAlive(group)) this.#alive.add(uid);
      else this.#alive.delete(uid);
    }
    return isGone && !isKept ? before : undefined;
  }

  #unwant(uid: string): void {
    const { hub } = this.#ports;
    for (const { node, spec } of hub.desired.sandboxesOf(uid)) {
      hub.facts.drop(node, spec.id);
      hub.leases.drop(spec.id);
    }
    hub.desired.forget(uid);
  }

  #forget(uid: string): void {
    const { leases, secrets, events, logger } = this.#ports;
    const key = this.#keys.get(uid);
    this.#unwant(uid);
    leases.forget(uid);
    this.#ports.carriers?.forget(uid);
    events.drop(uid);
    this.#alive.delete(uid);
    this.#removedMs.delete(uid);
    this.#usageMs.delete(uid);
    this.#startedMs.delete(uid);
    this.#keys.delete(uid);
    if (key !== undefined && this.#uids.get(key) === uid) this.#uids.delete(key);
    Promise.resolve(secrets.forget?.(uid)).catch((error: unknown) =>
      logger.warn({ err: error, uid }, 'private record of a group not removed'),
    );
  }
}

/** Without anything to wait for, or to be done, before it is placed, or under a lease that would begin. */
function isForeseeable({ metadata, spec, status }: ProcessGroup): boolean {
  const isPlain = spec.restoreFrom === undefined && spec.template === undefined && !startsElsewhere(spec);
  const isOurs = (spec.managedBy ?? ownController) === ownController;
  const isHeld = metadata.finalizers?.includes(finalizers.ranks.name) ?? false;
  return (
    isPlain && isOurs && isHeld && status?.phase === undefined && metadata.deletionTimestamp === undefined
  );
}

/** It can only go by a deletion that waits for us. */
function isAlive({ metadata, status }: ProcessGroup): boolean {
  const held = metadata.finalizers?.includes(finalizers.ranks.name) ?? false;
  const runs = status?.placement !== undefined && status.finishTime === undefined;
  return held && runs && metadata.deletionTimestamp === undefined;
}

/** Without fields that are undefined, as the store keeps it. */
function normalized(status: object): ProcessGroupStatus {
  return JSON.parse(JSON.stringify(status)) as ProcessGroupStatus;
}
