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
import type { Share } from '../carrier/split.ts';
import type { NodeState } from '../hub/node-table.ts';
import { compareNames, unfitness, type NodeOffer } from '../placement/place.ts';
import type { Assignment } from '../placement/placement-status.ts';
import { podTargetOf, type PodsSeen } from './pods.ts';
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
  /** Carrier Pods are to be made, or waited for: the ranks go where those are. */
  | { readonly kind: 'carriers'; readonly make: readonly Share[]; readonly message: string }
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
  /** Carrier Pods of the cluster; undefined: there are none in it. */
  readonly pods?: PodsSeen | undefined;
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
  const isCarried = group.spec.template !== undefined;
  const notAtAll = groupTrouble(group) ?? refusalOf(wanted, { isSuspended, isCarried, nodes: [] });
  if (notAtAll) return notAtAll;
  const moves: MigrationMove[] = [];
  const added = new Map<string, Assignment[]>();
  const waits: Extract<Choice, { kind: 'carriers' }>[] = [];
  for (const sandbox of moving) {
    const to = isCarried
      ? carrierTargetOf(migration, sandbox, sources, added)
      : targetOf(migration, sandbox, sources, added);
    if (typeof to !== 'string' && to.kind !== 'carriers') return to;
    if (typeof to !== 'string') {
      waits.push(to);
      continue;
    }
    added.set(to, [...(added.get(to) ?? []), sandbox]);
    moves.push({
      ordinal: sandbox.ordinal,
      from: sandbox.node,
      to,
      incarnation: sandbox.incarnation + 1,
      state: 'Pending',
    });
  }
  if (waits.length > 0) {
    const messages = waits.slice(0, mostNamed).map(({ message }) => message);
    return { kind: 'carriers', make: waits.flatMap(({ make }) => make), message: messages.join('; ') };
  }
  const names = new Set(moves.flatMap(({ from, to = '' }) => [from, to]));
  const nodes = [...names].map((name) => ({ name, state: sources.nodeOf(name) }));
  const unable = refusalOf(wanted, { isSuspended, isCarried, nodes });
  if (unable) return unable;
  const memoryBytes = Math.max(...moving.map(({ ordinal }) => sources.memoryOf(ordinal)));
  const strategy = strategyOf(wanted, { isSuspended, isCarried, nodes }, memoryBytes);
  const ranks = moving.map((each) => RankSet.parse(each.ranks)).reduce((all, own) => all.union(own));
  return { kind: 'moves', moves, ranks: ranks.toString(), strategy };
}

function groupTrouble({ spec, status, metadata }: ProcessGroup): Choice | undefined {
  if (status?.network !== undefined) return undefined;
  const [whose, instead] =
    spec.template === undefined
      ? ["the nodes' own network", '']
      : [
          'the network of its Pods',
          ', or drain the node, which saves the group and brings it back in other Pods',
        ];
  return refused(
    'PreflightFailed',
    `ProcessGroup ${metadata.name} uses ${whose}, whose addresses cannot move: create it with network Isolated${instead}`,
  );
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

interface Fit {
  /** The best first. */
  readonly fit: readonly NodeOffer[];
  /** Continues "NODE ...". */
  readonly why: (offer: NodeOffer) => string | undefined;
}

function fitOf(
  { spec }: Migration,
  sandbox: Assignment,
  sources: ChoiceSources,
  added: ReadonlyMap<string, readonly Assignment[]>,
): Fit {
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
  return { fit, why };
}

function targetOf(
  migration: Migration,
  sandbox: Assignment,
  sources: ChoiceSources,
  added: ReadonlyMap<string, readonly Assignment[]>,
): string | Choice {
  const { fit, why } = fitOf(migration, sandbox, sources, added);
  return fit[0]?.name ?? noneOf(migration, sandbox, sources, why);
}

/** The scheduler has the last word: the sandbox goes where its Pod is. */
function carrierTargetOf(
  migration: Migration,
  sandbox: Assignment,
  sources: ChoiceSources,
  added: ReadonlyMap<string, readonly Assignment[]>,
): string | Choice {
  const { pods, offers } = sources;
  if (!pods) return refused('NotSupported', 'carrier Pods are made on Kubernetes only');
  const { fit, why } = fitOf(migration, sandbox, sources, added);
  const { to } = migration.spec;
  const unfit = offers.filter((offer) => !fit.includes(offer)).map(({ name }) => name);
  const node =
    to === undefined ? { avoided: unfit, preferred: fit.slice(0, 1).map(({ name }) => name) } : { node: to };
  const { ordinal, ranks, rankCount } = sandbox;
  const target = podTargetOf(
    { ordinal, ranks, rankCount, migrationUid: migration.metadata.uid ?? '', ...node },
    sandbox.incarnation + 1,
    (name) => {
      const offer = offers.find((each) => each.name === name);
      return offer ? why(offer) : 'has no agent; see that the agents run there (kubectl get ds)';
    },
    pods,
  );
  switch (target.kind) {
    case 'on':
      return target.node;
    case 'waits':
      return { kind: 'carriers', make: [], message: target.message };
    case 'over':
      return refused(target.reason, target.message);
    case 'none': {
      if (fit.length === 0) return noneOf(migration, sandbox, sources, why);
      const message = `a carrier Pod for sandbox ${ordinal} is being made`;
      return { kind: 'carriers', make: [target.share], message };
    }
  }
}

function noneOf(
  { spec }: Migration,
  sandbox: Assignment,
  { offers, isAway }: ChoiceSources,
  why: Fit['why'],
): Choice {
  const others = offers.filter(
    ({ name }) => name !== sandbox.node && (spec.to === undefined || name === spec.to),
  );
  const reasons = others.slice(0, mostNamed).map((offer) => `${offer.name} ${why(offer)}`);
  const none = spec.to === undefined ? 'there is no other node' : `there is no node ${spec.to}`;
  const message = `no node can take sandbox ${sandbox.ordinal} (ranks ${sandbox.ranks}) of ${sandbox.node}: ${reasons.join('; ') || none}`;
  if (others.some(({ name, ready }) => !ready && isAway(name))) return { kind: 'waiting', message };
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
  // How many Pods have room is for the scheduler to say, and how many ranks go into each was said when they were dealt out.
  if (group.spec.template !== undefined) return undefined;
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
