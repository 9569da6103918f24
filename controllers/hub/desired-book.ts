/**
 * What every node shall hold: the sandboxes of all groups by node, with a revision that grows with every change.
 * The ProcessGroup controller writes it, sessions read it. It is rebuilt from the store after a start; until all of it
 * is there (`complete`) no agent is told "this is everything", so a starting hub never ends what it has not yet read.
 */
import { isDeepStrictEqual } from 'node:util';
import type {
  Carrier,
  CheckpointOrder,
  ImageId,
  MoveOrder,
  SandboxId,
  SandboxSpec,
  Sent,
} from '../../wire/agent-types.ts';
import { imageKey, sandboxKey } from './sandbox-key.ts';

/** Prepare: built, but no rank is started. */
export type Want = 'Prepare' | 'Run' | 'Freeze' | 'End' | 'Kill' | 'Keep';

export type DesiredSpec = Omit<Sent<SandboxSpec>, 'id'> & { readonly id: SandboxId };

export interface DesiredSandbox {
  readonly node: string;
  readonly spec: DesiredSpec;
}

export interface Entry {
  readonly node: string;
  readonly spec: DesiredSpec;
  /** False once this incarnation was seen alive: an agent that does not have it any more must not start it again. */
  readonly mayStart: boolean;
  readonly want: Want;
  readonly graceSeconds: number;
}

export interface CheckpointWish {
  readonly order: Sent<CheckpointOrder>;
  /** Of the sandboxes that are meant, by ordinal. */
  readonly incarnations: readonly number[];
}

/** What a node is to do with an image: have it, from any of these nodes, or have it no more. */
export interface ImageWish {
  readonly id: ImageId;
  readonly want: 'Have' | 'Gone';
  readonly digest: string;
  readonly from: readonly string[];
}

export interface MoveComer {
  readonly ordinal: number;
  readonly node: string;
  readonly incarnation: number;
  readonly order: Sent<MoveOrder>;
  /** The Pod that it is to be in there. */
  readonly carrier?: Carrier | undefined;
}

/** What the sandboxes that a Migration moves are told, where they are and where they go to. */
export interface MoveWish {
  readonly leavers: ReadonlyMap<number, Sent<MoveOrder>>;
  readonly comers: readonly MoveComer[];
}

/** A sandbox that runs elsewhere by its group's record, and whose pages are still on this node. */
export interface PagesHolder {
  readonly ordinal: number;
  readonly node: string;
  readonly migrationUid: string;
  /** NAMESPACE/NAME of the migration. */
  readonly name: string;
}

export interface Wish {
  readonly want: Want;
  readonly graceSeconds: number;
  readonly mayStart: boolean;
}

/** All that is asked for of a sandbox that has ended: thousands of them are kept. */
export const keptSpecOf = ({ id, ranks = '', stdin = '', tree }: DesiredSpec): DesiredSpec => ({
  id,
  ranks,
  stdin,
  tree,
});

interface Group {
  readonly entries: Entry[];
  /** Set when the group was removed: the revision from which on no agent is told to hold it. */
  removedAt?: number;
}

export type NodeChange = (node: string, keys: readonly string[]) => void;

export class DesiredBook {
  readonly #groups = new Map<string, Group>();
  readonly #nodes = new Map<string, Map<string, Entry>>();
  readonly #childrenOf = new Map<string, Set<string>>();
  readonly #waiters = new Map<string, PromiseWithResolvers<void>>();
  /** By group: the checkpoint that its sandboxes are at. */
  readonly #checkpoints = new Map<string, CheckpointWish>();
  /** By group: the migration that is at work on it. */
  readonly #moves = new Map<string, MoveWish>();
  /** By group: where pages of its sandboxes are that run elsewhere. */
  readonly #holders = new Map<string, { readonly holders: readonly PagesHolder[]; readonly entries: readonly Entry[] }>(); // prettier-ignore
  /** Groups of which it is on record that no migration is at work on them. */
  readonly #settled = new Set<string>();
  readonly #images = new Map<string, Map<string, ImageWish>>();
  readonly #changed: NodeChange;
  #revision: number;
  #complete = false;
  readonly #completed = Promise.withResolvers<void>();
  #keepsUnknown = false;

  /** `firstRevision` is larger than any that an earlier hub told; the time in microseconds does. */
  constructor(firstRevision: number, changed: NodeChange) {
    this.#revision = firstRevision;
    this.#changed = changed;
  }

  get revision(): number {
    return this.#revision;
  }

  get complete(): boolean {
    return this.#complete;
  }

  /** Settles once what is not here has no sandboxes, or `signal` aborts. */
  async untilComplete(signal: AbortSignal): Promise<void> {
    if (!this.#complete) await settled(this.#completed.promise, signal);
  }

  /** Set when groups may be missing here that nobody deleted: what agents hold of groups unknown here they keep. */
  get keepsUnknown(): boolean {
    return this.#keepsUnknown;
  }

  markComplete(keepsUnknown = false): void {
    this.#complete = true;
    this.#completed.resolve();
    this.#keepsUnknown = keepsUnknown;
  }

  /** Also of a group that agents are to forget. */
  knows(uid: string): boolean {
    return this.#groups.has(uid);
  }

  has(uid: string): boolean {
    const group = this.#groups.get(uid);
    return group !== undefined && group.removedAt === undefined;
  }

  /** Settles true once the group's sandboxes are known, false when the signal aborts before. */
  async untilKnown(uid: string, signal: AbortSignal): Promise<boolean> {
    if (this.#groups.has(uid)) return true;
    const waiter = this.#waiters.get(uid) ?? Promise.withResolvers<void>();
    this.#waiters.set(uid, waiter);
    await settled(waiter.promise, signal);
    return this.#groups.has(uid);
  }

  groups(): Iterable<string> {
    return this.#groups.keys();
  }

  /** The sandboxes of a group in the order of their ordinals. */
  sandboxesOf(uid: string): readonly Entry[] {
    return this.#groups.get(uid)?.entries ?? [];
  }

  ofNode(node: string): ReadonlyMap<string, Entry> {
    return this.#nodes.get(node) ?? new Map<string, Entry>();
  }

  /** Sandboxes whose place in the job tree is below one on this node, and those whose pages are on it. */
  *dependentsOf(node: string): Generator<string> {
    yield* this.#childrenOf.get(node) ?? [];
    for (const [uid, { holders }] of this.#holders)
      for (const { ordinal } of holders.filter((holder) => holder.node === node)) {
        const entry = this.sandboxesOf(uid)[ordinal];
        if (entry) yield sandboxKey(entry.spec.id);
      }
  }

  ranksOn(node: string, except: string | undefined): number {
    let ranks = 0;
    for (const { spec, want } of this.ofNode(node).values()) {
      if (spec.id.groupUid !== except && want !== 'Keep') ranks += rankCountOf(spec);
    }
    return ranks;
  }

  assign(uid: string, sandboxes: readonly DesiredSandbox[], wishOf: (ordinal: number) => Wish): void {
    const entries = sandboxes.map(({ node, spec }) => ({ node, spec, ...wishOf(spec.id.ordinal) }));
    this.#groups.set(uid, { entries });
    this.#waiters.get(uid)?.resolve();
    this.#waiters.delete(uid);
    for (const entry of entries) this.#put(entry);
    this.#tell(entries);
  }

  #put(entry: Entry): void {
    const { node, spec } = entry;
    const key = sandboxKey(spec.id);
    if (!this.#nodes.has(node)) this.#nodes.set(node, new Map());
    this.#nodes.get(node)!.set(key, entry);
    const parentNode = spec.tree?.parentNode;
    if (!parentNode) return;
    if (!this.#childrenOf.has(parentNode)) this.#childrenOf.set(parentNode, new Set());
    this.#childrenOf.get(parentNode)!.add(key);
  }

  #strike({ node, spec }: Entry): void {
    const key = sandboxKey(spec.id);
    this.#nodes.get(node)?.delete(key);
    const parentNode = spec.tree?.parentNode;
    if (parentNode) this.#childrenOf.get(parentNode)?.delete(key);
  }

  /** Sandboxes of a group are elsewhere now, by its record. */
  reassign(uid: string, sandboxes: readonly DesiredSandbox[], wishOf: (ordinal: number) => Wish): void {
    const before = this.sandboxesOf(uid);
    this.move(uid, undefined);
    for (const entry of before) this.#strike(entry);
    this.assign(uid, sandboxes, wishOf);
    this.#tell(before);
  }

  /** Sandboxes of a group are to be moved; undefined: nothing is said of it any more. */
  move(uid: string, wish: MoveWish | undefined): void {
    const before = this.#moves.get(uid);
    if (isDeepStrictEqual(before, wish) || (wish && !this.has(uid))) return;
    const told = new Set<Entry>();
    const tellLeavers = ({ leavers }: MoveWish): void => {
      for (const ordinal of leavers.keys()) {
        const entry = this.sandboxesOf(uid)[ordinal];
        if (entry) told.add(entry);
      }
    };
    if (before) {
      tellLeavers(before);
      for (const entry of this.#comersOf(uid, before)) {
        this.#strike(entry);
        told.add(entry);
      }
      this.#moves.delete(uid);
    }
    if (wish) {
      this.#moves.set(uid, wish);
      tellLeavers(wish);
      for (const entry of this.#comersOf(uid, wish)) {
        this.#put(entry);
        told.add(entry);
      }
    }
    this.#tell([...told]);
  }

  /**
   * Where pages of sandboxes are that run elsewhere, as the group's record has it now: those that have left are held there as they are. To
   * be said at once when sandboxes were reassigned. Gives those that are held no more.
   */
  follow(uid: string, holders: readonly PagesHolder[]): readonly Entry[] {
    const before = this.#holders.get(uid) ?? { holders: [], entries: [] };
    if (isDeepStrictEqual(before.holders, holders)) return [];
    for (const entry of before.entries) this.#strike(entry);
    const entries = this.#holding(uid, holders);
    if (holders.length === 0) this.#holders.delete(uid);
    else this.#holders.set(uid, { holders, entries });
    for (const entry of entries) this.#put(entry);
    const ordinals = new Set([...before.holders, ...holders].map(({ ordinal }) => ordinal));
    const told = this.sandboxesOf(uid).filter(({ spec }) => ordinals.has(spec.id.ordinal));
    this.#tell([...before.entries, ...entries, ...told]);
    return before.entries.filter(({ node, spec }) => !this.isHeld(node, spec.id));
  }

  /** As those on record, but for where and in which incarnation. */
  #holding(uid: string, holders: readonly PagesHolder[]): Entry[] {
    return holders.flatMap(({ ordinal, node }) => {
      const entry = this.sandboxesOf(uid)[ordinal];
      if (!entry) return [];
      const id = { ...entry.spec.id, incarnation: entry.spec.id.incarnation - 1 };
      const spec = { ...entry.spec, id, restore: undefined };
      return { ...entry, node, spec, want: 'Run' as const, mayStart: false };
    });
  }

  isHeld(node: string, id: SandboxId): boolean {
    const { entries = [] } = this.#holders.get(id.groupUid) ?? {};
    return entries.some((entry) => entry.node === node && sandboxKey(entry.spec.id) === sandboxKey(id));
  }

  /** Of the sandbox on record: where its pages are. Of the one that holds them: that it goes on to. */
  #pagesOrderOf({ groupUid, ordinal, incarnation }: SandboxId): Sent<MoveOrder> | undefined {
    const holder = this.#holders.get(groupUid)?.holders.find((each) => each.ordinal === ordinal);
    const entry = this.sandboxesOf(groupUid)[ordinal];
    if (!holder || !entry) return undefined;
    const now = entry.spec.id.incarnation;
    const { migrationUid, name } = holder;
    const order = { migrationUid, name, incarnation: now - 1, pagesFollow: true };
    if (incarnation === now) return { ...order, step: 'Follow', peerNode: holder.node };
    return incarnation === now - 1 ? { ...order, step: 'Hold', peerNode: entry.node } : undefined;
  }

  /** Whether it is on record that nobody moves sandboxes of the group: then each is told to stay where the record has it. */
  settle(uid: string, isSettled: boolean): void {
    if (this.#settled.has(uid) === isSettled) return;
    if (isSettled) this.#settled.add(uid);
    else this.#settled.delete(uid);
    if (isSettled) this.#tell(this.sandboxesOf(uid));
  }

  moveFor(id: SandboxId): Sent<MoveOrder> | undefined {
    const pages = this.#pagesOrderOf(id);
    if (pages) return pages;
    const wish = this.#moves.get(id.groupUid);
    const isOnRecord = this.sandboxesOf(id.groupUid)[id.ordinal]?.spec.id.incarnation === id.incarnation;
    if (wish && isOnRecord) return wish.leavers.get(id.ordinal);
    if (wish)
      return wish.comers.find((each) => each.ordinal === id.ordinal && each.incarnation === id.incarnation)
        ?.order;
    return isOnRecord && this.#settled.has(id.groupUid) ? { step: 'Stay' } : undefined;
  }

  /** Sandboxes of a group that come to other nodes. */
  comersOf(uid: string): readonly Entry[] {
    const wish = this.#moves.get(uid);
    return wish ? this.#comersOf(uid, wish) : [];
  }

  /** What comes is as what leaves, but for where and in which incarnation. */
  #comersOf(uid: string, { comers }: MoveWish): Entry[] {
    return comers.flatMap(({ ordinal, node, incarnation, carrier }) => {
      const entry = this.sandboxesOf(uid)[ordinal];
      if (!entry) return [];
      const id = { ...entry.spec.id, incarnation };
      const spec = { ...entry.spec, id, restore: undefined, ...(carrier ? { carrier } : {}) };
      return { ...entry, node, spec, want: 'Run' as const, mayStart: true };
    });
  }

  /** Changes what is wanted of a group's sandboxes; tells only of those for which it is news. */
  want(uid: string, wishOf: (ordinal: number) => Wish): void {
    const group = this.#groups.get(uid);
    if (!group) return;
    const news: Entry[] = [];
    group.entries.forEach((entry, i) => {
      const wish = wishOf(entry.spec.id.ordinal);
      const same = entry.want === wish.want && entry.graceSeconds === wish.graceSeconds;
      if (same && entry.mayStart === wish.mayStart) return;
      const next = { ...entry, ...wish, ...(wish.want === 'Keep' ? { spec: keptSpecOf(entry.spec) } : {}) };
      group.entries[i] = next;
      this.#nodes.get(entry.node)?.set(sandboxKey(entry.spec.id), next);
      if (!same) news.push(next);
    });
    if (news.length > 0) this.#tell(news);
  }

  /** Tells a group's sandboxes what to do for a checkpoint; undefined: nothing is said any more. */
  order(uid: string, wish: CheckpointWish | undefined): void {
    if (isDeepStrictEqual(this.#checkpoints.get(uid), wish)) return;
    if (wish) this.#checkpoints.set(uid, wish);
    else this.#checkpoints.delete(uid);
    if (wish && this.has(uid)) this.#tell(this.sandboxesOf(uid));
  }

  orderedCheckpoint(uid: string): string | undefined {
    return this.#checkpoints.get(uid)?.order.checkpointUid;
  }

  /** Another incarnation than the one that was meant is told nothing. */
  orderFor({ groupUid, ordinal, incarnation }: SandboxId): Sent<CheckpointOrder> | undefined {
    const wish = this.#checkpoints.get(groupUid);
    return wish?.incarnations[ordinal] === incarnation ? wish.order : undefined;
  }

  wantImage(node: string, wish: ImageWish): void {
    if (!this.#images.has(node)) this.#images.set(node, new Map());
    const wishes = this.#images.get(node)!;
    const key = imageKey(wish.id);
    if (isDeepStrictEqual(wishes.get(key), wish)) return;
    wishes.set(key, wish);
    this.#changed(node, []);
  }

  imagesWantedOn(node: string): ReadonlyMap<string, ImageWish> {
    return this.#images.get(node) ?? new Map<string, ImageWish>();
  }

  /** Nothing more is said of a Checkpoint's images. */
  forgetImages(checkpointUid: string): void {
    for (const wishes of this.#images.values())
      for (const [key, { id }] of wishes) if (id.checkpointUid === checkpointUid) wishes.delete(key);
  }

  /** From the revision returned on, agents end and forget the group. Its sandboxes stay known until `forget`. */
  remove(uid: string): number {
    const group = this.#groups.get(uid);
    if (!group) return this.#revision;
    if (group.removedAt !== undefined) return group.removedAt;
    this.move(uid, undefined);
    this.follow(uid, []);
    for (const entry of group.entries) this.#strike(entry);
    group.removedAt = this.#revision + 1;
    this.#tell(group.entries);
    return group.removedAt;
  }

  removedAt(uid: string): number | undefined {
    return this.#groups.get(uid)?.removedAt;
  }

  forget(uid: string): void {
    this.remove(uid);
    this.#checkpoints.delete(uid);
    this.#moves.delete(uid);
    this.#settled.delete(uid);
    this.#groups.delete(uid);
    this.#waiters.delete(uid);
  }

  /** Strikes the group out and tells nobody: agents keep what they hold of it. */
  lose(uid: string): void {
    for (const entry of this.sandboxesOf(uid)) this.#strike(entry);
    for (const entry of this.#comersOf(uid, this.#moves.get(uid) ?? { leavers: new Map(), comers: [] }))
      this.#strike(entry);
    for (const entry of this.#holders.get(uid)?.entries ?? []) this.#strike(entry);
    this.#holders.delete(uid);
    this.#moves.delete(uid);
    this.#settled.delete(uid);
    this.#groups.delete(uid);
    this.#waiters.delete(uid);
  }

  /** True, or false when it is known to lie elsewhere; undefined while nothing is known of the group. */
  owns(node: string, id: SandboxId): boolean | undefined {
    const entry = this.#groups.get(id.groupUid)?.entries[id.ordinal];
    if (!this.#groups.has(id.groupUid)) return undefined;
    // One that comes here may be told of before the migration that moves it is known again.
    if (entry && id.incarnation > entry.spec.id.incarnation) return undefined;
    return entry?.node === node || this.isHeld(node, id);
  }

  #tell(entries: readonly Entry[]): void {
    this.#revision += 1;
    const byNode = Map.groupBy(entries, (entry) => entry.node);
    for (const [node, changed] of byNode)
      this.#changed(
        node,
        changed.map(({ spec }) => sandboxKey(spec.id)),
      );
  }
}

const counts = new WeakMap<object, number>();

function rankCountOf(spec: DesiredSpec): number {
  let count = counts.get(spec);
  if (count === undefined) {
    count = 0;
    for (const part of (spec.ranks ?? '').split(',')) {
      const [, first, last, stride] = /^(\d+)(?:-(\d+))?(?::(\d+))?$/.exec(part) ?? [];
      if (first !== undefined)
        count += Math.floor((Number(last ?? first) - Number(first)) / Number(stride ?? 1)) + 1;
    }
    counts.set(spec, count);
  }
  return count;
}

async function settled(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  const gone = Promise.withResolvers<void>();
  const abort = (): void => gone.resolve();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  await Promise.race([promise, gone.promise]);
  signal.removeEventListener('abort', abort);
}
