/** The ranks of a group as `muster ps` lists them: from its placement and what agents say of its sandboxes. Pure but for reading. */
import { constants } from 'node:os';
import type { Hub } from '../hub/hub.ts';
import { expandPlacement } from '../placement/placement-status.ts';
import { RankSet } from '../../crds/rank-set.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import type { RankEnd, SandboxFact } from '../../wire/agent-types.ts';
import { rankUsagesOf, type RankUsage } from './samples.ts';

export interface RankRow {
  readonly rank: number;
  readonly node: string;
  readonly ordinal: number;
  readonly state: string;
  readonly exit: string;
  readonly program: string;
  /** Processors that the rank is bound to, such as 0-1; empty: not bound. */
  readonly processors: string;
  /** Absent when its agent did not answer, or has forgotten the rank. */
  readonly usage?: RankUsage;
}

/** With what agents answer of what ranks do now. */
export async function measuredRankRows(group: ProcessGroup, hub: Hub): Promise<RankRow[]> {
  const usages = await rankUsagesOf(group, hub);
  return rankRowsOf(group, hub).map((row) => {
    const usage = usages.get(row.rank);
    return usage ? { ...row, usage } : row;
  });
}

export function rankRowsOf(group: ProcessGroup, hub: Hub): RankRow[] {
  const programs = (group.spec.processes ?? []).map((process) => ({
    ranks: RankSet.parse(process.ranks),
    text: process.command.join(' '),
  }));
  const rows = expandPlacement(group.status?.placement).flatMap(({ ordinal, incarnation, node, ranks }) => {
    const id = { groupUid: group.metadata.uid ?? '', ordinal, incarnation };
    const fact = hub.facts.get(node, id)?.fact;
    const succeeded = fact && fact.succeeded !== '' ? RankSet.parse(fact.succeeded) : undefined;
    const failures = new Map((fact?.failures ?? []).map((failure) => [failure.rank, failure]));
    return [...RankSet.parse(ranks)].map((rank, localRank) => ({
      rank,
      node,
      ordinal,
      ...stateOf(rank, fact, succeeded, failures.get(rank)),
      program: programs.find((program) => program.ranks.has(rank))?.text ?? '',
      processors: fact?.bindings[localRank] ?? '',
    }));
  });
  return rows.sort((one, other) => one.rank - other.rank);
}

function stateOf(
  rank: number,
  fact: SandboxFact | undefined,
  succeeded: RankSet | undefined,
  failure: RankEnd | undefined,
): { state: string; exit: string } {
  if (!fact) return { state: 'Unknown', exit: '' };
  if (failure) return { state: failure.stage > 0 ? 'NotStarted' : 'Ended', exit: exitOf(failure) };
  if (succeeded?.has(rank) === true) return { state: 'Ended', exit: '0' };
  if (fact.state === 'Running') return { state: fact.frozen ? 'Frozen' : 'Running', exit: '' };
  return { state: fact.state === 'Ended' ? 'Ended' : fact.state, exit: '' };
}

function exitOf(failure: RankEnd): string {
  if (failure.stage > 0) return failure.message;
  const signal = failure.waitStatus & 127;
  if (signal === 0) return String((failure.waitStatus >> 8) & 255);
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;
}
