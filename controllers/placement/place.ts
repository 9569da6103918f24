/**
 * Decides which rank runs on which node: nodes and a spec in, sandboxes by ordinal out, or the reason why not. Pure
 * and deterministic. It knows nodes as offers of processors and memory and nothing of agents or time.
 *
 * Nodes that are named share the ranks evenly, a node named n times taking n shares, each no larger than its
 * processors as long as there are processors left. Nodes that are not named are filled by their free processors.
 * When ranks outnumber processors they wrap around, as users of mpiexec expect; ranksPerNode and resources.requests
 * are never exceeded.
 */
import type { ProcessGroupPlacement, ProcessGroupResources } from '../../crds/types.gen.ts';
import type { Reason } from '../../crds/conditions.ts';
import { quantityOf } from '../../crds/quantity.ts';
import { RankRuns } from './rank-runs.ts';

export interface NodeOffer {
  readonly name: string;
  /** False with the reason for people. */
  readonly ready: boolean;
  readonly notReadyBecause?: string;
  readonly cordoned: boolean;
  /** Continues "NODE ...". */
  readonly cordonedBecause?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Ranks of other groups that are placed there. */
  readonly ranksPlaced: number;
}

export interface PlacementWish {
  readonly size: number;
  readonly placement: ProcessGroupPlacement;
  readonly resources?: ProcessGroupResources | undefined;
}

export interface PlacedSandbox {
  readonly ordinal: number;
  readonly node: string;
  /** Rank set as text. */
  readonly ranks: string;
  readonly rankCount: number;
}

export type Placing =
  | { readonly kind: 'placed'; readonly sandboxes: readonly PlacedSandbox[] }
  | { readonly kind: 'waiting'; readonly reason: Reason; readonly message: string };

/** A share of ranks on one node: how many it takes freely, and how many at the very most. */
interface Slot {
  readonly node: string;
  readonly free: number;
  readonly wrap: number;
  readonly most: number;
}

export function place(wish: PlacementWish, offers: readonly NodeOffer[]): Placing {
  const { placement, size } = wish;
  const named = placement.nodes;
  const byName = new Map(offers.map((offer) => [offer.name, offer]));
  if (named) {
    const refusal = refuseNamed(named, byName, placement);
    if (refusal) return refusal;
  }
  const candidates = named
    ? named.map((name) => byName.get(name)!)
    : offers
        .filter((offer) => unfitness(offer, placement) === undefined)
        .sort((a, b) => compareNames(a.name, b.name));
  if (candidates.length === 0)
    return { kind: 'waiting', reason: reasonForNone(offers, placement), message: whyNone(offers, placement) };
  const slots = slotsOf(wish, candidates, named !== undefined);
  const room = slots.reduce((sum, slot) => sum + slot.most, 0);
  if (room < size)
    return { kind: 'waiting', reason: 'Insufficient', message: whyShort(wish, slots, room, offers) };
  const runs =
    placement.policy === 'Cyclic'
      ? dealCyclic(slots, size)
      : named
        ? fillShares(slots, size)
        : fillBlocks(slots, size);
  return { kind: 'placed', sandboxes: sandboxesOf(runs, placement.ranksPerSandbox) };
}

function slotsOf(wish: PlacementWish, candidates: readonly NodeOffer[], named: boolean): Slot[] {
  const perRankCpus = amountOf(wish.resources, 'cpu');
  const perRankMemory = amountOf(wish.resources, 'memory');
  const mentions = new Map<string, number>();
  for (const { name } of candidates) mentions.set(name, (mentions.get(name) ?? 0) + 1);
  return candidates.map((offer) => {
    const share = mentions.get(offer.name)!;
    const byCpu = perRankCpus > 0 ? Math.floor(offer.cpus / perRankCpus / share) : Infinity;
    const byMemory = perRankMemory > 0 ? Math.floor(offer.memoryBytes / perRankMemory / share) : Infinity;
    const most = Math.min(wish.placement.ranksPerNode ?? Infinity, byCpu, byMemory);
    const cpus = Math.max(1, offer.cpus);
    const wrap = Math.min(most, wish.placement.ranksPerNode ?? cpus);
    const free = wish.placement.ranksPerNode ?? (named ? cpus : Math.max(0, offer.cpus - offer.ranksPlaced));
    return { node: offer.name, free: Math.min(most, free), wrap, most };
  });
}

/** Each node in turn as far as it is free, then again and again by its processors. */
function fillBlocks(slots: readonly Slot[], size: number): RankRuns[] {
  const runs = slots.map((slot) => new RankRuns(slot.node));
  let rank = 0;
  for (let pass = 0; rank < size; pass++) {
    slots.forEach((slot, i) => {
      const want = pass === 0 ? slot.free : slot.wrap;
      const count = Math.min(want, slot.most - runs[i]!.count, size - rank);
      if (count > 0) runs[i]!.add(rank, count);
      rank += Math.max(0, count);
    });
  }
  return merged(runs);
}

/** Even shares, each one stretch of neighbours. */
function fillShares(slots: readonly Slot[], size: number): RankRuns[] {
  const counts = sharesOf(slots, size);
  const runs = slots.map((slot) => new RankRuns(slot.node));
  let rank = 0;
  counts.forEach((count, i) => {
    if (count > 0) runs[i]!.add(rank, count);
    rank += count;
  });
  return merged(runs);
}

function dealCyclic(slots: readonly Slot[], size: number): RankRuns[] {
  const runs = slots.map((slot) => new RankRuns(slot.node));
  let rank = 0;
  const caps = slots.map((slot) => Math.min(slot.free, slot.most));
  while (rank < size) {
    let open = slots.map((_, i) => i).filter((i) => runs[i]!.count < caps[i]!);
    while (open.length > 0 && rank < size) {
      for (const i of open) {
        if (rank === size) break;
        runs[i]!.add(rank++, 1);
      }
      open = open.filter((i) => runs[i]!.count < caps[i]!);
    }
    slots.forEach((slot, i) => (caps[i] = Math.min(slot.most, runs[i]!.count + slot.wrap)));
  }
  return merged(runs);
}

/** How many ranks each slot gets when they are dealt evenly, the first slots taking what does not divide. */
function sharesOf(slots: readonly Slot[], size: number): number[] {
  const counts = slots.map(() => 0);
  let left = size;
  for (let pass = 0; left > 0; pass++) {
    const caps = slots.map((slot, i) => Math.min(slot.most, pass === 0 ? slot.free : counts[i]! + slot.wrap));
    for (let open = openOf(counts, caps); open.length > 0 && left > 0; open = openOf(counts, caps)) {
      const each = Math.floor(left / open.length);
      const extra = each === 0 ? left : 0;
      open.forEach((i, position) => {
        const count = each === 0 ? (position < extra ? 1 : 0) : Math.min(each, caps[i]! - counts[i]!);
        counts[i]! += count;
        left -= count;
      });
    }
  }
  return counts;
}

function openOf(counts: readonly number[], caps: readonly number[]): number[] {
  return counts.map((_, i) => i).filter((i) => counts[i]! < caps[i]!);
}

/** All shares of a node are one. */
function merged(runs: readonly RankRuns[]): RankRuns[] {
  const byNode = new Map<string, RankRuns>();
  for (const run of runs) {
    if (run.count === 0) continue;
    const before = byNode.get(run.node);
    byNode.set(run.node, before ? before.merge(run) : run);
  }
  return [...byNode.values()];
}

function sandboxesOf(runs: readonly RankRuns[], ranksPerSandbox: number | undefined): PlacedSandbox[] {
  const sandboxes: PlacedSandbox[] = [];
  for (const run of runs) {
    for (const part of ranksPerSandbox === undefined ? [run] : run.split(ranksPerSandbox)) {
      sandboxes.push({
        ordinal: sandboxes.length,
        node: part.node,
        ranks: part.toString(),
        rankCount: part.count,
      });
    }
  }
  return sandboxes;
}

export function unfitness(
  offer: NodeOffer,
  placement: ProcessGroupPlacement,
): { reason: Reason; why: string } | undefined {
  if (!offer.ready) return { reason: 'NodeNotReady', why: offer.notReadyBecause ?? 'is not ready' };
  if (offer.cordoned) return { reason: 'NodeCordoned', why: offer.cordonedBecause ?? 'is cordoned' };
  for (const [label, value] of Object.entries(placement.nodeSelector ?? {})) {
    const has = offer.labels[label];
    if (has !== value)
      return {
        reason: 'NoNodeMatches',
        why: `has ${has === undefined ? 'no label' : `${label}=${has}, not`} ${label}=${value}`,
      };
  }
  return undefined;
}

function refuseNamed(
  named: readonly string[],
  byName: ReadonlyMap<string, NodeOffer>,
  placement: ProcessGroupPlacement,
): Placing | undefined {
  const found = [...new Set(named)].flatMap((name) => {
    const offer = byName.get(name);
    const unfit = offer
      ? unfitness(offer, placement)
      : { reason: 'NoSuchNode' as const, why: 'is not known' };
    return unfit ? [{ name, ...unfit }] : [];
  });
  if (found.length === 0) return undefined;
  const message = `spec.placement.nodes: ${listed(found.map(({ name, why }) => `${name} ${why}`))}`;
  return { kind: 'waiting', reason: found[0]!.reason, message };
}

function reasonForNone(offers: readonly NodeOffer[], placement: ProcessGroupPlacement): Reason {
  const found = offers.map((offer) => unfitness(offer, placement)!.reason);
  return (
    found.find((reason) => reason === 'NodeCordoned') ??
    found.find((reason) => reason === 'NoNodeMatches') ??
    'NodeNotReady'
  );
}

function whyNone(offers: readonly NodeOffer[], placement: ProcessGroupPlacement): string {
  if (offers.length === 0) return 'There is no node yet; start an agent.';
  return `No node is fit: ${listed(offers.map((offer) => `${offer.name} ${unfitness(offer, placement)!.why}`))}`;
}

function whyShort(
  wish: PlacementWish,
  slots: readonly Slot[],
  room: number,
  offers: readonly NodeOffer[],
): string {
  const { ranksPerNode } = wish.placement;
  const limit =
    ranksPerNode === undefined ? 'resources.requests leave' : `placement.ranksPerNode ${ranksPerNode} leaves`;
  const unfit = wish.placement.nodes
    ? []
    : offers.flatMap((offer) => {
        const why = unfitness(offer, wish.placement)?.why;
        return why === undefined ? [] : [`${offer.name} ${why}`];
      });
  const rest = unfit.length === 0 ? '' : `; not used: ${listed(unfit)}`;
  const room1 = slots
    .slice(0, 8)
    .map((slot) => `${slot.node} ${slot.most}`)
    .join(', ');
  return `${wish.size} ranks are wanted, but ${limit} room for ${room} (${room1}${slots.length > 8 ? ', ...' : ''})${rest}`;
}

function listed(parts: readonly string[]): string {
  return parts.length <= 8
    ? parts.join('; ')
    : `${parts.slice(0, 8).join('; ')}; and ${parts.length - 8} more`;
}

function amountOf(resources: ProcessGroupResources | undefined, name: string): number {
  const text = resources?.requests?.[name];
  return text === undefined ? 0 : quantityOf(text) || 0;
}

/** node2 before node10. */
export function compareNames(a: string, b: string): number {
  const numbers = a.replace(/\d+/g, (digits) => digits.padStart(12, '0'));
  const others = b.replace(/\d+/g, (digits) => digits.padStart(12, '0'));
  return numbers < others ? -1 : numbers > others ? 1 : a < b ? -1 : a > b ? 1 : 0;
}
