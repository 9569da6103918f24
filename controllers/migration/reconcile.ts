/**
 * The Migration controller: read, decide by the protocol's table, act, write status, tell agents. Who has the ranks is the group's
 * record (status.placement), and this is the only one beside the ProcessGroup controller that writes it: by one compare-and-set write
 * that commits the move and ends the migration's claim on the group at once, or ends the claim alone. Agents are told what follows from
 * the two records, so a controller that comes back, or one that is late, tells and does the same.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { finalizers } from '../../crds/names.ts';
import type { Migration, MigrationStatus, ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { MoveOrder, Sent } from '../../wire/agent-types.ts';
import type { MoveState } from '../../wire/migration-protocol.ts';
import type { CarrierBook } from '../carrier/book.ts';
import { isHeld as isHeldPod } from '../carrier/gang.ts';
import type { Share } from '../carrier/split.ts';
import { carrierRefTo } from '../carrier/view.ts';
import { wholeGroup } from '../process-group/restore.ts';
import type { Entry, MoveComer, MoveWish } from '../hub/desired-book.ts';
import type { Hub } from '../hub/hub.ts';
import { migrationType, processGroupType } from '../resource-types.ts';
import { assignmentsOf } from '../process-group/observe.ts';
import { groupKeyOf } from '../runtime/by-group.ts';
import type { EventRecorder } from '../runtime/event-recorder.ts';
import { nameOf, settled, type Key, type Outcome, type Reconciler } from '../runtime/reconciler.ts';
import { advanceOf, timeLeftMs, unableAdvance, type Advance } from './advance.ts';
import { claimed, committed, isClaimable, released } from './claim.ts';
import { observe, type ObservePorts } from './observe.ts';
import { isMoveDone, moveStateOf, type MigrationSeen } from './seen.ts';
import { statusOf } from './status.ts';

export interface MigrationPorts extends ObservePorts {
  readonly store: ObjectStore;
  readonly hub: Pick<Hub, 'facts' | 'nodes' | 'desired'>;
  readonly groups: ReadonlyMap<Key, ProcessGroup>;
  readonly events: EventRecorder;
  readonly logger: Logger;
  readonly carriers?: Pick<CarrierBook, 'of' | 'isKnown' | 'policy' | 'make' | 'madeFor' | 'release'>;
  /** Its record has changed, or somebody who waited for it may go on. */
  readonly groupChanged: (group: Key) => void;
  /** Tests end the controller at such points. */
  readonly reached?: (point: string) => void;
}

/** What stands in the way of a beginning comes free without anybody telling. */
const beginEveryMs = 1000;
const againMs = 1;

export class MigrationReconciler implements Reconciler {
  readonly name = 'migration';
  readonly #ports: MigrationPorts;

  constructor(ports: MigrationPorts) {
    this.#ports = ports;
  }

  async reconcile(key: Key, signal: AbortSignal): Promise<Outcome> {
    const migration = await this.#read<Migration>(migrationType, key, signal);
    if (!migration) return this.#forget(key, signal);
    const groupKey = groupKeyOf(migration);
    const group = await this.#read<ProcessGroup>(processGroupType, groupKey, signal);
    const seen = observe(migration, group, this.#ports);
    const wished = advanceOf(seen);
    const current = await this.#keepFinalizer(migration, wished, signal);
    const refusal = wished.make && (await this.#makePods(seen, wished.make, signal));
    const advance = refusal ? unableAdvance({ reason: 'NoTarget', message: refusal }) : wished;
    // The Migration's own record first where it gives up, the group's first where it commits: each says what the other will.
    const isCommit = advance.actions.includes('Commit');
    const isStep = advance.from !== advance.to;
    if (isStep || isCommit) this.#ports.reached?.(`move ${isCommit ? 'Commit' : advance.to} decided`);
    if (isCommit) {
      await this.#write(seen, committed(seen), signal);
      this.#ports.reached?.('move Commit written');
      return this.#followed(groupKey, { kind: 'again', afterMs: againMs });
    }
    if (advance.from === advance.to) this.#tell(seen, advance.to); // time counts
    const status = await this.#writeStatus(current, seen, advance, signal);
    if (isStep) this.#ports.reached?.(`move ${advance.to} written`);
    if (isStep) this.#told(seen, advance, status);
    const changed = await this.#keepClaim(seen, advance, signal);
    if (changed) this.#ports.reached?.(`move ${advance.to} claimed`);
    // By what is on record now: how memory is moved may have been chosen in this very step.
    this.#tell({ ...seen, migration: { ...migration, status } }, advance.to);
    if (changed) return this.#followed(groupKey, { kind: 'again', afterMs: againMs });
    if (advance.from !== advance.to) return this.#followed(groupKey, { kind: 'again', afterMs: againMs });
    if (!isMoveDone(advance.to)) return { kind: 'again', afterMs: this.#againMs(seen, advance.to) };
    return this.#finish(seen, current);
  }

  #followed(group: Key, outcome: Outcome): Outcome {
    this.#ports.groupChanged(group);
    return outcome;
  }

  #againMs(seen: MigrationSeen, state: MoveState): number {
    if (state === 'Following') return beginEveryMs;
    const leftMs = Math.max(1, Math.ceil(timeLeftMs(seen)));
    return state === 'Pending' || state === 'Preparing' ? Math.min(leftMs, beginEveryMs) : leftMs;
  }

  async #read<T extends ProcessGroup | Migration>(
    type: typeof migrationType,
    key: Key,
    signal: AbortSignal,
  ): Promise<T | undefined> {
    try {
      return await this.#ports.store.get<T>(type, nameOf(key), signal);
    } catch (error) {
      if (isStoreError(error, 'NotFound') && error.details.name !== undefined) return undefined;
      throw error;
    }
  }

  /** Held before anything is asked of anybody, so that a deletion waits until ranks run where the record has them. */
  async #keepFinalizer(
    migration: Migration,
    { to, make = [] }: Advance,
    signal: AbortSignal,
  ): Promise<Migration> {
    const { metadata } = migration;
    const { name } = finalizers.migration;
    const held = metadata.finalizers ?? [];
    const isHeld = held.includes(name);
    const isBegun = to !== 'Pending' || isHeld || make.length > 0;
    const wanted = isBegun && !isMoveDone(to);
    if (wanted === isHeld || (wanted && metadata.deletionTimestamp !== undefined)) return migration;
    if (!wanted && moveStateOf({ migration }) !== to) return migration; // once that is on record
    if (!wanted && !(await this.#releasePods(migration, signal))) return migration;
    const { namespace, name: own, resourceVersion } = metadata;
    const left = wanted ? [...held, name] : held.filter((each) => each !== name);
    return this.#ports.store.patch<Migration>(
      migrationType,
      { namespace, name: own },
      { type: 'merge', patch: { metadata: { resourceVersion, finalizers: left } } },
      undefined,
      signal,
    );
  }

  /** Why the cluster takes none, such as a quota; undefined: they are made. */
  async #makePods(
    { group, placement }: MigrationSeen,
    shares: readonly Share[],
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { carriers, checkpoints } = this.#ports;
    if (!group) return undefined;
    const whole = wholeGroup(group, checkpoints);
    try {
      for (const share of shares)
        await carriers?.make(whole, (placement[share.ordinal]?.incarnation ?? 0) + 1, [share], signal);
      return undefined;
    } catch (error) {
      if (!isStoreError(error, 'Forbidden', 'Invalid')) throw error;
      return `the cluster takes no other carrier Pod: ${error.message}`;
    }
  }

  /**
   * Of a migration that is over: Pods that no sandbox came to. Asked of the store itself, since what memory has of the record may be
   * older than the move. False: the record still names the migration.
   */
  async #releasePods({ metadata, spec }: Migration, signal: AbortSignal): Promise<boolean> {
    const { carriers, store } = this.#ports;
    const { namespace = 'default', uid = '' } = metadata;
    const made = (await carriers?.madeFor(uid, namespace, signal)) ?? [];
    if (made.length === 0) return true;
    const { items } = await store.list<ProcessGroup>(
      processGroupType,
      { namespace, fieldSelector: `metadata.name=${spec.processGroupName}` },
      signal,
    );
    const [group] = items;
    if (!group) return true; // they go with it
    if (group.status?.migration?.uid === uid) return false;
    const placement = assignmentsOf(group);
    const unused = made.filter(
      ({ ordinal, incarnation }) => incarnation > (placement[ordinal]?.incarnation ?? Infinity),
    );
    await carriers?.release(group.metadata.uid ?? '', unused.filter(isHeldPod), undefined, signal);
    return true;
  }

  async #writeStatus(
    migration: Migration,
    seen: MigrationSeen,
    advance: Advance,
    signal: AbortSignal,
  ): Promise<MigrationStatus> {
    const next = JSON.parse(JSON.stringify(statusOf(seen, advance))) as MigrationStatus;
    if (isDeepStrictEqual(JSON.parse(JSON.stringify(migration.status ?? {})), next)) return next;
    await this.#ports.store.updateStatus<Migration>(migrationType, { ...migration, status: next }, signal);
    return next;
  }

  /** True when the group's record was changed. Throws a conflict when somebody else was faster: then all is looked at anew. */
  async #keepClaim(seen: MigrationSeen, { to }: Advance, signal: AbortSignal): Promise<boolean> {
    if (to === 'Preparing' && !seen.isClaimed && isClaimable(seen, this.#ports.migrations))
      return this.#write(seen, claimed(seen), signal);
    const isOver = to === 'Aborting' || isMoveDone(to);
    return isOver && seen.isClaimed ? this.#write(seen, released(seen), signal) : false;
  }

  async #write({ group }: MigrationSeen, status: ProcessGroup['status'], signal: AbortSignal): Promise<true> {
    if (!group || !status) throw new Error('MUSTER_BUG: a group that is gone is not written');
    await this.#ports.store.updateStatus<ProcessGroup>(processGroupType, { ...group, status }, signal);
    return true;
  }

  /** By the group's record alone, so not before its own write is read back. */
  #tell(seen: MigrationSeen, to: MoveState): void {
    const { desired } = this.#ports.hub;
    const { group, isClaimed, isCommitted } = seen;
    const uid = group?.metadata.uid;
    if (uid === undefined) return;
    // Without its Pod nobody could take what comes.
    const isPlaceable = !seen.isCarried || seen.movers.every(({ pod }) => pod !== undefined);
    if (isClaimed && isPlaceable && (to === 'Preparing' || to === 'Copying'))
      desired.move(uid, wishOf(seen, to));
    // Committed by a controller that was late: what has come is not to be taken for something that nobody wants.
    if (isCommitted && isPlaceable && !isMoveDone(to) && !isToldOf(seen, desired.sandboxesOf(uid)))
      desired.move(uid, { ...wishOf(seen, 'Copying'), leavers: new Map() });
    const isOver = to === 'Aborting' || to === 'Failed';
    // What was committed the ProcessGroup controller tells, all at once.
    if (isOver && !isCommitted && group?.status?.migration === undefined) desired.move(uid, undefined);
  }

  #told({ migration, group }: MigrationSeen, { from, to, failure }: Advance, status: MigrationStatus): void {
    const { events, logger } = this.#ports;
    const { namespace, name } = migration.metadata;
    logger.info({ migration: `${namespace}/${name}`, from, to, ...failure }, 'migration goes on');
    if (!isMoveDone(to)) return;
    const type = to === 'Completed' ? 'Completed' : 'Failed';
    const end = status.conditions?.find((each) => each.type === type);
    const note = {
      type: to === 'Completed' ? ('Normal' as const) : ('Warning' as const),
      reason: end?.reason ?? '',
      message: end?.message ?? '',
    };
    events.record(migration, note);
    if (group) events.record(group, { ...note, message: `Migration ${name}: ${note.message}` });
  }

  #finish({ migration, nowMs }: MigrationSeen, { metadata }: Migration): Outcome {
    const { ttlSecondsAfterFinished } = migration.spec;
    if (metadata.finalizers?.includes(finalizers.migration.name))
      return { kind: 'again', afterMs: beginEveryMs };
    const { finishTime } = migration.status ?? {};
    if (ttlSecondsAfterFinished === undefined || finishTime === undefined) return settled;
    if (metadata.deletionTimestamp !== undefined) return settled;
    const leftMs = Date.parse(finishTime) + ttlSecondsAfterFinished * 1000 - nowMs;
    if (leftMs > 0) return { kind: 'again', afterMs: Math.ceil(leftMs) };
    const { namespace, name, uid } = metadata;
    void this.#ports.store
      .delete(migrationType, { namespace, name }, { preconditions: { uid } })
      .catch((error: unknown) => {
        if (!isStoreError(error, 'NotFound'))
          this.#ports.logger.warn({ err: error }, 'finished migration not deleted');
      });
    return settled;
  }

  /** It is gone, perhaps by force: no group waits for it for ever. */
  async #forget(key: Key, signal: AbortSignal): Promise<Outcome> {
    const { namespace, name } = nameOf(key);
    for (const [groupKey, { metadata, status }] of this.#ports.groups) {
      if (metadata.namespace !== namespace || status?.migration?.name !== name) continue;
      const group = await this.#read<ProcessGroup>(processGroupType, groupKey, signal);
      if (group?.status?.migration?.name !== name) continue;
      if (group.status.migration.pages !== undefined && this.#areFollowing(group))
        return { kind: 'again', afterMs: beginEveryMs };
      const { migration: _migration, ...left } = group.status;
      await this.#ports.store.updateStatus<ProcessGroup>(
        processGroupType,
        { ...group, status: left },
        signal,
      );
      this.#ports.hub.desired.move(metadata.uid ?? '', undefined);
      this.#ports.groupChanged(groupKey);
    }
    return settled;
  }

  /** Pages of its sandboxes are on the way, by the word of those that fetch them. */
  #areFollowing(group: ProcessGroup): boolean {
    const { facts, nodes } = this.#ports.hub;
    const { uid: groupUid = '' } = group.metadata;
    const placement = assignmentsOf(group);
    return (group.status?.migration?.pages ?? []).some(({ ordinal, node }) => {
      const { node: now = '', incarnation = 0 } = placement[ordinal] ?? {};
      const state = facts.get(now, { groupUid, ordinal, incarnation })?.fact.move?.state;
      return state === 'Following' && nodes.standing(node) !== 'Lost';
    });
  }
}

/** Agents are told of the group as its record has it since the commit. */
function isToldOf({ movers }: MigrationSeen, entries: readonly Entry[]): boolean {
  return movers.every(({ move }) => (entries[move.ordinal]?.spec.id.incarnation ?? 0) >= move.incarnation);
}

/** What both sides of each sandbox are told. Who comes begins together with the one who leaves: much can be done meanwhile. */
function wishOf({ migration, movers, group, scratch }: MigrationSeen, to: 'Preparing' | 'Copying'): MoveWish {
  const { metadata, status } = migration;
  const { strategy } = status ?? {};
  /** Copies of what is written meanwhile take room as well. */
  const room = strategy === 'PreCopy' || strategy === undefined ? 2 : 1;
  const common = {
    migrationUid: metadata.uid ?? '',
    name: `${metadata.namespace ?? 'default'}/${metadata.name}`,
    pagesFollow: strategy === 'PostCopy',
    pagesAhead: strategy === 'PreCopy',
    measure: to === 'Preparing' && strategy === undefined,
    openFiles: group?.spec.checkpointPolicy?.openFiles === 'Truncate' ? 'Truncate' : 'Refuse',
    externalConnections: group?.spec.externalConnections ?? 'Refuse',
    copyFiles: migration.spec.copyFiles ?? true,
  };
  const leavers = new Map<number, Sent<MoveOrder>>();
  const comers = movers.map(({ move, leaver, pod }): MoveComer => {
    const { ordinal, from, incarnation } = move;
    const orders = { ...common, incarnation: incarnation - 1 };
    leavers.set(ordinal, { ...orders, step: to === 'Preparing' ? 'Prepare' : 'Leave', peerNode: move.to });
    const neededBytes = neededOf((leaver.fact?.memoryBytes ?? 0) * room);
    const step = to === 'Preparing' ? 'Prepare' : 'Place';
    const order = { ...orders, step, peerNode: from, neededBytes };
    return { ordinal, node: move.to, incarnation, order, carrier: pod && carrierRefTo(pod, scratch) };
  });
  return { leavers, comers };
}

/** In steps, so that nobody is told anew of every page. */
const neededOf = (bytes: number): number => Math.ceil(bytes / (64 << 20)) * (64 << 20);
