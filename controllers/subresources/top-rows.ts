/** What sandboxes use and have used, and how loaded a node is, as agents last said. Pure but for reading. */
import { expandPlacement } from '../placement/placement-status.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { StoreError } from '../../store/object-store.ts';
import type { NodeReport } from '../../wire/agent-types.ts';
import type { Hub } from '../hub/hub.ts';

export interface TopRow {
  readonly ordinal: number;
  readonly node: string;
  readonly ranks: string;
  readonly state: string;
  readonly cpuSeconds: number;
  /** Cores used on average since the ranks began. */
  readonly cores: number;
  readonly memoryBytes: number;
  readonly memoryPeakBytes: number;
  readonly logBytes: number;
}

export function topRowsOf(group: ProcessGroup, hub: Hub, nowMs: number): TopRow[] {
  return expandPlacement(group.status?.placement).map(({ ordinal, incarnation, node, ranks }) => {
    const fact = hub.facts.get(node, { groupUid: group.metadata.uid ?? '', ordinal, incarnation })?.fact;
    const cpuSeconds = (fact?.cpuUs ?? 0) / 1e6;
    const endedMs = fact && fact.endedNs > 0 ? fact.endedNs / 1e6 : nowMs;
    const seconds = fact && fact.ranksStartedNs > 0 ? (endedMs - fact.ranksStartedNs / 1e6) / 1000 : 0;
    return {
      ordinal,
      node,
      ranks,
      state: fact === undefined ? 'Unknown' : fact.frozen ? 'Frozen' : fact.state,
      cpuSeconds,
      cores: seconds > 0 ? cpuSeconds / seconds : 0,
      memoryBytes: fact?.memoryBytes ?? 0,
      memoryPeakBytes: fact?.memoryPeakBytes ?? 0,
      logBytes: fact?.logBytes ?? 0,
    };
  });
}

export interface NodeTop {
  readonly node: string;
  readonly standing: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly load1: number;
  /** Processors at work; absent when the agent tells no figures. */
  readonly cores?: number;
  readonly iowaitPercent?: number;
  readonly stealPercent?: number;
  readonly memoryAvailableBytes: number;
  readonly pressure?: { readonly cpu: number; readonly memory: number; readonly io: number };
  readonly receivedBytesPerSecond?: number;
  readonly sentBytesPerSecond?: number;
  readonly readBytesPerSecond?: number;
  readonly writtenBytesPerSecond?: number;
  readonly diskFreeBytes: number;
  readonly sandboxes: number;
  readonly ranks: number;
}

export function nodeTopOf(node: string, hub: Hub): NodeTop {
  const state = knownNode(node, hub);
  const { hello, load } = state;
  return {
    node,
    standing: hub.nodes.standing(node),
    cpus: hello?.capacity?.cpus ?? 0,
    memoryBytes: hello?.capacity?.memoryBytes ?? 0,
    load1: load?.load1 ?? 0,
    memoryAvailableBytes: load?.memoryAvailableBytes ?? 0,
    diskFreeBytes: load?.diskFreeBytes ?? 0,
    sandboxes: load?.sandboxes ?? 0,
    ranks: load?.ranks ?? 0,
    ...(state.report ? figuresOf(state.report) : {}),
  };
}

function figuresOf({ figures, networks }: NodeReport): Partial<NodeTop> {
  if (!figures) return {};
  const { busy, cores, iowait, steal, readBytesPerSecond, writtenBytesPerSecond } = figures;
  const sum = (of: 'receivedBytesPerSecond' | 'sentBytesPerSecond') =>
    networks.reduce((total, each) => total + each[of], 0);
  return {
    cores: busy * cores.length,
    iowaitPercent: iowait * 100,
    stealPercent: steal * 100,
    pressure: {
      cpu: figures.cpuPressureAvg10,
      memory: figures.memoryPressureAvg10,
      io: figures.ioPressureAvg10,
    },
    receivedBytesPerSecond: sum('receivedBytesPerSecond'),
    sentBytesPerSecond: sum('sentBytesPerSecond'),
    readBytesPerSecond,
    writtenBytesPerSecond,
  };
}

export interface NodeSandboxRow {
  readonly namespace: string;
  readonly group: string;
  readonly ordinal: number;
  readonly ranks: string;
  readonly state: string;
}

/** The sandboxes that the node holds or is to hold. */
export function nodeSandboxesOf(node: string, hub: Hub): NodeSandboxRow[] {
  knownNode(node, hub);
  return [...hub.desired.ofNode(node).values()].map(({ spec }) => ({
    namespace: spec.namespace ?? '',
    group: spec.groupName ?? '',
    ordinal: spec.id.ordinal,
    ranks: spec.ranks ?? '',
    state: hub.facts.get(node, spec.id)?.fact.state ?? 'Unknown',
  }));
}

export const requireKnownNode = (node: string, hub: Hub): void => void knownNode(node, hub);

function knownNode(node: string, hub: Hub): NonNullable<ReturnType<Hub['nodes']['get']>> {
  const state = hub.nodes.get(node);
  if (!state) {
    const kind = { group: 'muster.dev', kind: 'nodemonitors', name: node };
    throw new StoreError('NotFound', `nodemonitor ${node}: no agent of this node has been heard of`, kind);
  }
  return state;
}
