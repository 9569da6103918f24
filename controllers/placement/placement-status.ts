/**
 * A group's placement as controllers use it: one assignment a sandbox, its ranks as text. How it stands compressed in status is
 * `crds/placement.ts`; what was written is what is read, and a restarted controller goes on from it.
 */
import {
  compressPlacement as compressPlaces,
  expandPlacement as expandPlaces,
} from '../../crds/placement.ts';
import { RankSet } from '../../crds/rank-set.ts';
import type { ProcessGroupStatusPlacement } from '../../crds/types.gen.ts';

export interface Assignment {
  readonly ordinal: number;
  readonly incarnation: number;
  readonly node: string;
  readonly ranks: string;
  readonly rankCount: number;
}

export function compressPlacement(assignments: readonly Assignment[]): ProcessGroupStatusPlacement[] {
  return compressPlaces(
    assignments.map(({ ordinal, node, incarnation, ranks }) => {
      return { ordinal, node, incarnation, ranks: RankSet.parse(ranks) };
    }),
  );
}

export function expandPlacement(entries: readonly ProcessGroupStatusPlacement[] | undefined): Assignment[] {
  return expandPlaces(entries ?? []).map(({ ordinal, node, incarnation, ranks }) => {
    return { ordinal, node, incarnation, ranks: ranks.toString(), rankCount: ranks.size };
  });
}
