/**
 * What of a group a Migration moves, and where each sandbox goes: or that nothing is to move, or why it cannot be. Pure and
 * deterministic. A sandbox goes where it fits: processors that can do what its own could, memory, the same job network, the place that
 * the group's own placement allows unless the migration names the node.
 */
import { RankSet } from '../../crds/rank-set.ts';
import type { Reason } from '../../crds/conditions.ts';
import { bytesText, quantityOf } from '../../crds/quantity.ts';
import type { Migration, MigrationMove, ProcessGroup } from '../../crds/types.gen.ts';
import { encryptingFeature } from '../../wire/encryption.ts';
import { mtuOver } from '../../wire/job-addresses.ts';
import { feature as checkpointing } from '../checkpoint/candidates.ts';
import type { NodeState } from '../hub/node-table.ts';
import { compareNames, unfitness, type NodeOffer } from '../placement/place.ts';
import type { Assignment } from '../placement/placement-status.ts';
import { strategyOf, strategyTrouble, type Strategy, type StrategySeen } from './strategy.ts';

export type Choice =
  | {
      readonly kind: 'moves';
      readonly moves: readonly MigrationMove[];
      readonly ranks: string;
      /** Undefined: it is to be measured first. */
      readonly strategy: Strategy | undefined;
    }
  | { readonly kind: 'nothing'; readonly message: string }
  /** A node that could take them may be heard of in a moment. */
  | { readonly kind: 'waiting'; readonly message: string }
  | { readonly kind: 'refused'; readonly reason: Reason; readonly message: string };

export interface ChoiceSources {
  readonly group: ProcessGroup;
  readonly placement: readonly Assignment[];
  readonly offers: readonly NodeOffer[];
  readonly nodeOf: (node: string) => NodeState | undefined;
  /** Nothing is heard of the node, and it is not lost yet. */
  readonly isAway: (node: string) => boolean;
  /** Memory that a sandbox has now. */
  readonly memoryOf: (ordinal: number) => number;
}

const mostNamed = 8;
const isolating = 'network-isolated';

const refused = (reason: Reason, message: string): Choice => ({ kind: 'refused', reason, message });

export function choiceOf(migration: Migration, sources: ChoiceSources): Choice {
  const { spec } = migration;
  const { group, placement } = sources;
  const chosen = chosenOf(spec, placement);
  if ('kind' in chosen) return chosen;
  const moving = chosen.filter(({ node }) => node !== spec.to);
  if (moving.length === 0)
    return {
      kind: 'nothing',
      message: spec.from === undefined ? `the ranks are on ${spec.to} already` : `no rank is on ${spec.from}`,
    };
  const wanted = spec.strategy ?? 'Auto';
  const isSuspended = group.status?.phase === 'Suspended';
  const notAtAll = groupTrouble(group) ?? refusalOf(wanted, { isSuspended, nodes: [] });
  if (notAtAll) return notAtAll;
  const moves: MigrationMove[] = [];
  const added = new Map<string, Assignment[]>();
  for (const sandbox of moving) {
    const to = targetOf(migration, sandbox, sources, added);
    if (typeof to !== 'string') return to;
    added.set(to, [...(added.get(to) ?? []), sandbox]);
    moves.push({
      ordinal: sandbox.ordinal,
      from: sandbox.node,
      to,
      incarnation: sandbox.incarnation + 1,
      state: 'Pending',
    });
  }
  const names = new Set(moves.flatMap(({ from, to = '' }) => [from, to]));
  const nodes = [...names].map((name) => ({ name, state: sources.nodeOf(name) }));
  const unable = refusalOf(wanted, { isSuspended, nodes });
  if (unable) return unable;
  const memoryBytes = Math.max(...moving.map(({ ordinal }) => sources.memoryOf(ordinal)));
  const strategy = strategyOf(wanted, { isSuspended, nodes }, memoryBytes);
  const ranks = moving.map((each) => RankSet.parse(each.ranks)).reduce((all, own) => all.union(own));
  return { kind: 'moves', moves, ranks: ranks.toString(), strategy };
}

function groupTrouble({ spec, status, metadata }: ProcessGroup): Choice | undefined {
  if (spec.template !== undefined)
    return refused(
      'NotSupported',
      'ranks in carrier Pods cannot be moved while they run: drain the node (muster drain), which saves the group and brings it back in Pods elsewhere',
    );
  if (status?.network === undefined)
    return refused(
      'PreflightFailed',
      `ProcessGroup ${metadata.name} uses the nodes' own network, whose addresses cannot move: create it with network Isolated`,
    );
  return undefined;
}

function refusalOf(wanted: string, seen: StrategySeen): Choice | undefined {
  const why = strategyTrouble(wanted, seen);
  return why === undefined ? undefined : refused('NotSupported', `strategy ${wanted}: ${why}`);
}

/** Whole sandboxes: all on the node, or those of the ranks that are named. */
function chosenOf(
  { from, ranks }: Migration['spec'],
  placement: readonly Assignment[],
): readonly Assignment[] | Choice {
  const there = placement.filter(({ node }) => from === undefined || node === from);
  if (ranks === undefined) return there;
  const wanted = RankSet.parse(ranks);
  const touched = placement.filter((each) => RankSet.parse(each.ranks).intersect(wanted).size > 0);
  const own = from === undefined ? touched : touched.filter(({ node }) => node === from);
  const parts = own.filter((each) => RankSet.parse(each.ranks).minus(wanted).size > 0);
  if (parts.length > 0) {
    const text = parts
      .slice(0, mostNamed)
      .map((each) => `sandbox ${each.ordinal} on ${each.node} has ranks ${each.ranks}`);
    return refused(
      'NotWholeSandboxes',
      `spec.ranks ${ranks} cuts sandboxes apart, which move whole: ${text.join('; ')}`,
    );
  }
  return own;
}

function targetOf(
  { spec }: Migration,
  sandbox: Assignment,
  sources: ChoiceSources,
  added: ReadonlyMap<string, readonly Assignment[]>,
): string | Choice {
  const { group, placement, offers } = sources;
  const named = group.spec.placement?.nodes && new Set(group.spec.placement.nodes);
  const why = (offer: NodeOffer): string | undefined => {
    if (offer.name === sandbox.node) return 'is where they are';
    if (spec.to !== undefined && offer.name !== spec.to) return 'is not the one asked for';
    if (spec.to === undefined && named && !named.has(offer.name))
      return 'is not named in spec.placement.nodes (name it as the target to go there all the same)';
    return (
      unfitness(offer, spec.to === undefined ? (group.spec.placement ?? {}) : {})?.why ??
      nodeTrouble(offer, sandbox, sources, added, spec.to !== undefined)
    );
  };
  const load = ({ name, cpus, ranksPlaced }: NodeOffer): number => {
    const own = [...placement.filter(({ node }) => node === name), ...(added.get(name) ?? [])];
    return (ranksPlaced + own.reduce((sum, { rankCount }) => sum + rankCount, 0)) / Math.max(1, cpus);
  };
  const fit = offers
    .filter((offer) => why(offer) === undefined)
    .sort((a, b) => load(a) - load(b) || compareNames(a.name, b.name));
  if (fit[0]) return fit[0].name;
  const others = offers.filter(
    ({ name }) => name !== sandbox.node && (spec.to === undefined || name === spec.to),
  );
  const reasons = others.slice(0, mostNamed).map((offer) => `${offer.name} ${why(offer)}`);
  const none = spec.to === undefined ? 'there is no other node' : `there is no node ${spec.to}`;
  const message = `no node can take sandbox ${sandbox.ordinal} (ranks ${sandbox.ranks}) of ${sandbox.node}: ${reasons.join('; ') || none}`;
  if (others.some(({ name, ready }) => !ready && sources.isAway(name))) return { kind: 'waiting', message };
  return refused('NoTarget', message);
}

/** What a node that offers itself lacks for this sandbox. */
function nodeTrouble(
  { name, cpus }: NodeOffer,
  sandbox: Assignment,
  { group, placement, nodeOf, memoryOf }: ChoiceSources,
  added: ReadonlyMap<string, readonly Assignment[]>,
  isNamed: boolean,
): string | undefined {
  const target = nodeOf(name);
  const source = nodeOf(sandbox.node);
  const hello = target?.hello;
  const sealing = group.status?.network?.encryption === undefined ? [] : [encryptingFeature];
  for (const feature of [checkpointing, isolating, ...sealing]) {
    if (hello?.features.includes(feature)) continue;
    const missing = hello?.missing.find((text) => text.startsWith(`${feature}: `))?.slice(feature.length + 2);
    return `cannot bring back what is moved there: ${missing ?? 'update its agent'}`;
  }
  if (source?.hello?.capacity && hello?.capacity?.architecture !== source.hello.capacity.architecture)
    return `is of another architecture, ${hello?.capacity?.architecture ?? ''}`;
  const has = new Set(hello?.cpuFeatures);
  const lacks = source?.hello?.cpuFeatures.filter((each) => !has.has(each)) ?? [];
  if (lacks.length > 0)
    return `has processors without ${lacks.slice(0, 8).join(', ')}, which the ranks may use`;
  const members = new Set(placement.map(({ node }) => node));
  const mtu = Math.min(...[...members].map((node) => mtuOf(nodeOf(node))));
  if (mtuOf(target) < mtu) return 'has a link that carries smaller packets than those of the job network';
  const free = target?.load?.memoryAvailableBytes;
  const coming = [sandbox, ...(added.get(name) ?? [])].reduce(
    (sum, { ordinal }) => sum + memoryOf(ordinal),
    0,
  );
  if (free !== undefined && free < coming)
    return `has ${bytesText(free)}B of memory free, ${bytesText(coming)}B are needed`;
  const { ranksPerNode } = group.spec.placement ?? {};
  const perRank = quantityOf(group.spec.resources?.requests?.['cpu'] ?? NaN);
  const most = Math.min(
    isNamed ? Infinity : (ranksPerNode ?? Infinity),
    perRank > 0 ? Math.floor(cpus / perRank) : Infinity,
  );
  const ranks = [...placement.filter(({ node }) => node === name), ...(added.get(name) ?? []), sandbox];
  if (ranks.reduce((sum, { rankCount }) => sum + rankCount, 0) > most)
    return `has room for ${most} ranks of the group by placement.ranksPerNode or resources.requests`;
  return undefined;
}

const mtuOf = (node: NodeState | undefined): number => {
  const mtu = node?.hello?.underlayMtu ?? 0;
  return mtuOver(mtu > 0 ? mtu : 1500, false);
};
