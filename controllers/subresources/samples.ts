/**
 * What ranks and nodes do now and did in the last hour, as their agents answer when asked, in the words of the API. Agents that do
 * not answer leave their part out. Nothing is kept here; what the wire's columns mean stands in agent.proto.
 */
import type { ProcessGroup } from '../../crds/types.gen.ts';
import type { RankSample, Tier } from '../../wire/agent-types.ts';
import type { Hub } from '../hub/hub.ts';
import { expandPlacement } from '../placement/placement-status.ts';

export interface RankUsage {
  /** As the node counts. */
  readonly pid: number;
  /** R, S, D, T, Z as in /proc; X has ended. Of the process of the rank that works most. */
  readonly state: string;
  readonly waitsFor: string;
  readonly userSeconds: number;
  readonly systemSeconds: number;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly memoryPeakBytes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly processes: number;
  readonly threads: number;
  readonly voluntarySwitches: number;
  readonly involuntarySwitches: number;
  readonly majorFaults: number;
}

export interface HistoryStep {
  /** When the last step ends, RFC 3339. */
  readonly end: string;
  readonly stepSeconds: number;
}

/** Oldest first; null where nothing was measured. */
type Track = readonly (number | null)[];

export interface RankTimeline {
  readonly rank: number;
  readonly node: string;
  readonly ordinal: number;
  /** The finest first. */
  readonly tiers: readonly (HistoryStep & { readonly cores: Track; readonly memoryBytes: Track })[];
}

export interface NodeTimeline {
  readonly node: string;
  readonly tiers: readonly (HistoryStep & {
    readonly cores: Track;
    readonly memoryBytes: Track;
    readonly receivedBytesPerSecond: Track;
    readonly sentBytesPerSecond: Track;
    readonly readBytesPerSecond: Track;
    readonly writtenBytesPerSecond: Track;
  })[];
}

export async function rankUsagesOf(group: ProcessGroup, hub: Hub): Promise<Map<number, RankUsage>> {
  const answers = await askAll(group, hub, 'Ranks', '');
  return new Map(
    answers.flatMap(({ answer }) => answer.ranks.map((sample) => [sample.rank, usageOf(sample)])),
  );
}

export async function rankTimelinesOf(group: ProcessGroup, hub: Hub, ranks: string): Promise<RankTimeline[]> {
  const answers = await askAll(group, hub, 'History', ranks);
  return answers
    .flatMap(({ node, answer }) =>
      answer.timelines.map(({ id, rank, tiers }) => ({
        rank,
        node,
        ordinal: id?.ordinal ?? 0,
        tiers: tiers.map((tier) => ({
          ...stepOf(tier),
          cores: track(tier, 0, 3),
          memoryBytes: track(tier, 1, 0),
        })),
      })),
    )
    .sort((one, other) => one.rank - other.rank);
}

export async function nodeTimelineOf(node: string, hub: Hub): Promise<NodeTimeline> {
  const answer = await hub.ask(node, { kind: 'History' });
  return {
    node,
    tiers: (answer?.timelines[0]?.tiers ?? []).map((tier) => ({
      ...stepOf(tier),
      cores: track(tier, 0, 3),
      memoryBytes: track(tier, 1, 0),
      receivedBytesPerSecond: track(tier, 2, 0),
      sentBytesPerSecond: track(tier, 3, 0),
      readBytesPerSecond: track(tier, 4, 0),
      writtenBytesPerSecond: track(tier, 5, 0),
    })),
  };
}

async function askAll(group: ProcessGroup, hub: Hub, kind: 'Ranks' | 'History', ranks: string) {
  const groupUid = group.metadata.uid ?? '';
  const byNode = new Map<string, { groupUid: string; ordinal: number; incarnation: number }[]>();
  for (const { node, ordinal, incarnation } of expandPlacement(group.status?.placement)) {
    const ids = byNode.get(node) ?? [];
    byNode.set(node, [...ids, { groupUid, ordinal, incarnation }]);
  }
  const answers = await Promise.all(
    [...byNode].map(async ([node, ids]) => ({ node, answer: await hub.ask(node, { kind, ids, ranks }) })),
  );
  return answers.flatMap(({ node, answer }) => (answer ? [{ node, answer }] : []));
}

function usageOf(sample: RankSample): RankUsage {
  const { id: _id, rank: _rank, userUs, systemUs, cores, ...rest } = sample;
  return {
    ...rest,
    userSeconds: userUs / 1e6,
    systemSeconds: systemUs / 1e6,
    cores: Math.round(cores * 1000) / 1000,
  };
}

const stepOf = ({ endNs, stepMs }: Tier): HistoryStep => ({
  end: new Date(endNs / 1e6).toISOString(),
  stepSeconds: stepMs / 1000,
});

function track({ columns, values }: Tier, column: number, decimals: number): Track {
  const found: (number | null)[] = [];
  for (let at = column; at < values.length; at += columns) {
    const value = values[at] ?? NaN;
    found.push(Number.isNaN(value) ? null : Number(value.toFixed(decimals)));
  }
  return found;
}
