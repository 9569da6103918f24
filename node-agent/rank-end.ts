// How ranks ended, pure: from rank-init's slots to what the hub is told, in the order in which they ended. Whether an end
// is a failure that should end the whole group is said here and nowhere else.
import { endingOf, startStages as abiStages, type Slot } from '../native/addon/abi.ts';
import { RankSet } from '../crds/rank-set.ts';
import type { RankEnd } from '../wire/agent-types.ts';
import type { ProcessStart } from './ranks.ts';
import { startFailureMessage } from './start-failure.ts';

/** Failures told one by one; more are only counted. */
export const failuresTold = 64;

export interface EndContext {
  readonly node: string;
  readonly startOf: (rank: number) => ProcessStart | undefined;
  /** When the agent began to end the ranks; null: it did not. */
  readonly endingSinceNs: number | null;
  /** Began PMI and never finalized. */
  readonly isPmiOpen: (rank: number) => boolean;
}

export function rankEndOf(slot: Slot, rank: number, context: EndContext): RankEnd {
  const start = context.startOf(rank);
  const endedNs = Number(slot.endedNs);
  const notStarted = slot.state === 'not-started';
  const stage = notStarted ? abiStages.indexOf(slot.stage) : 0;
  return {
    rank,
    waitStatus: notStarted ? 0 : slot.waitStatus,
    stage,
    error: notStarted ? slot.error : 0,
    message:
      notStarted && start
        ? startFailureMessage(stage, slot.error, start, context.node)
        : notStarted
          ? `MUSTER_START_FAILED: rank ${String(rank)} on ${context.node}`
          : '',
    endedNs,
    byUs: !notStarted && context.endingSinceNs !== null && endedNs >= context.endingSinceNs,
    withoutFinalize: !notStarted && context.isPmiOpen(rank),
  };
}

/** An end that counts as success. One that left the others waiting in MPI does not, whatever its code. */
export function isSuccess(end: RankEnd): boolean {
  return end.stage === 0 && end.waitStatus === 0 && !end.withoutFinalize;
}

export interface EndSummary {
  readonly succeeded: string;
  readonly failures: RankEnd[];
  readonly failuresTotal: number;
}

export function summaryOf(ends: Iterable<RankEnd>): EndSummary {
  const succeeded: number[] = [];
  const failed: RankEnd[] = [];
  for (const end of ends) {
    if (isSuccess(end)) succeeded.push(end.rank);
    else failed.push(end);
  }
  failed.sort((a, b) => a.endedNs - b.endedNs || a.rank - b.rank);
  return {
    succeeded: RankSet.from(succeeded).toString(),
    failures: failed.slice(0, failuresTold),
    failuresTotal: failed.length,
  };
}

/** Why the group should end, in words; empty when no rank gives a reason. */
export function causeOf(ends: Iterable<RankEnd>): string {
  let first: RankEnd | undefined;
  for (const end of ends) {
    if (!isSuccess(end) && !end.byUs && (first === undefined || end.endedNs < first.endedNs)) first = end;
  }
  if (!first) return '';
  if (first.stage !== 0) return first.message;
  const { code, signal } = endingOf(first.waitStatus);
  const how =
    signal !== null
      ? `was ended by signal ${String(signal)}`
      : code === 0
        ? 'exited without MPI_Finalize'
        : `exited with ${String(code)}`;
  return `rank ${String(first.rank)} ${how}`;
}
