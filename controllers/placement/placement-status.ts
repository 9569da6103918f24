/**
 * Placement as it stands in status: neighbours of the same incarnation, shape and distance share one entry, and
 * their nodes are a node list. Both ways, pure, and exact: what was written is what is read. This is the truth that
 * a restarted controller goes on from.
 */
import { RankSet } from '../../crds/rank-set.ts';
import type { ProcessGroupStatusPlacement } from '../../crds/types.gen.ts';
import { formatNodeList, parseNodeList } from './node-list.ts';

export interface Assignment {
  readonly ordinal: number;
  readonly incarnation: number;
  readonly node: string;
  readonly ranks: string;
  readonly rankCount: number;
}

export function compressPlacement(assignments: readonly Assignment[]): ProcessGroupStatusPlacement[] {
  const entries: ProcessGroupStatusPlacement[] = [];
  for (let i = 0; i < assignments.length;) {
    const first = assignments[i]!;
    const shape = RankSet.parse(first.ranks);
    const step = i + 1 < assignments.length ? stepBetween(shape, assignments[i + 1]!) : undefined;
    let end = i + 1;
    while (step !== undefined && end < assignments.length) {
      const next = assignments[end]!;
      if (next.incarnation !== first.incarnation || next.rankCount !== first.rankCount) break;
      if (shape.shift(step * (end - i)).toString() !== canonical(next.ranks)) break;
      end += 1;
    }
    entries.push({
      ordinal: first.ordinal,
      nodes: formatNodeList(assignments.slice(i, end).map(({ node }) => node)),
      incarnation: first.incarnation,
      ranks: shape.toString(),
      ...(end - i > 1 ? { rankStep: step! } : {}),
    });
    i = end;
  }
  return entries;
}

export function expandPlacement(entries: readonly ProcessGroupStatusPlacement[] | undefined): Assignment[] {
  return (entries ?? []).flatMap((entry) => {
    const shape = RankSet.parse(entry.ranks);
    return parseNodeList(entry.nodes).map((node, i) => ({
      ordinal: entry.ordinal + i,
      incarnation: entry.incarnation,
      node,
      ranks: i === 0 ? entry.ranks : shape.shift((entry.rankStep ?? 0) * i).toString(),
      rankCount: shape.size,
    }));
  });
}

function canonical(ranks: string): string {
  return RankSet.parse(ranks).toString();
}

function stepBetween(shape: RankSet, next: Assignment): number | undefined {
  const step = (RankSet.parse(next.ranks).first ?? 0) - (shape.first ?? 0);
  return step >= 1 ? step : undefined;
}
