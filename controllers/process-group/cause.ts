/**
 * Which of a group's failures is the cause, and which only follow from it. When a rank crashes, its neighbours see a broken
 * connection and abort or exit, and their agents may tell of it first; clocks of nodes differ. But an agent knows what ended
 * before it began to end its ranks itself: a crash of that time was not brought about by the end of the group. Pure.
 */
import { constants } from 'node:os';
import type { Abort, BrokenFence, RankEnd, SandboxFact } from '../../wire/agent-types.ts';
import type { SandboxView } from './seen.ts';

export type Cause =
  | { readonly kind: 'limit'; readonly limit: string }
  | { readonly kind: 'notStarted' | 'crash' | 'exit'; readonly end: RankEnd }
  | { readonly kind: 'abort'; readonly abort: Abort }
  | { readonly kind: 'brokenFence'; readonly broken: BrokenFence }
  /** The sandbox as a whole failed. */
  | { readonly kind: 'sandbox' };

export interface FoundCause {
  readonly view: SandboxView;
  readonly cause: Cause;
}

/** Causes of a lower number go before all of a higher one, whatever was told first. */
const weights = {
  limit: 0,
  notStarted: 0,
  crash: 0,
  sandbox: 0,
  abort: 1,
  exit: 1,
  brokenFence: 2,
} as const satisfies Record<Cause['kind'], number>;

/** Whether it cannot have been brought about by the failure of another rank. */
export function isOriginal({ kind }: Cause): boolean {
  return weights[kind] === 0;
}

/** Undefined when nothing failed that ends the group. `goesOn`: ranks that end badly do not. */
export function causeOf(sandboxes: readonly SandboxView[], goesOn: boolean): FoundCause | undefined {
  const found = sandboxes
    .filter((view) => view.known?.failureOrder !== undefined)
    .sort((a, b) => a.known!.failureOrder! - b.known!.failureOrder!)
    .flatMap((view) => {
      const cause = causeIn(view.known!.fact, goesOn);
      return cause ? [{ view, cause }] : [];
    });
  return found.reduce<FoundCause | undefined>(
    (best, each) => (best && weights[best.cause.kind] <= weights[each.cause.kind] ? best : each),
    undefined,
  );
}

/** The cause within one sandbox, whose ends were stamped by one clock. */
export function causeIn(fact: SandboxFact, goesOn: boolean): Cause | undefined {
  // Ranks that were killed with their lease die of that.
  if (fact.state === 'Failed' && fact.reason === 'LeaseExpired') return { kind: 'sandbox' };
  if (fact.limitExceeded !== '') return { kind: 'limit', limit: fact.limitExceeded };
  const own = fact.failures.filter((end) => !end.byUs);
  const notStarted = own.find((end) => end.stage !== 0);
  if (notStarted) return { kind: 'notStarted', end: notStarted };
  const ends = goesOn ? [] : own;
  const crash = ends.find(isCrash);
  if (crash) return { kind: 'crash', end: crash };
  const { abort } = fact;
  const exit = abort ? ends.find((end) => end.rank !== abort.rank && end.endedNs <= abort.atNs) : ends[0];
  if (exit) return { kind: 'exit', end: exit };
  if (abort) return { kind: 'abort', abort };
  if (fact.brokenFence) return { kind: 'brokenFence', broken: fact.brokenFence };
  return fact.state === 'Failed' ? { kind: 'sandbox' } : undefined;
}

/** A signal of which nobody of the group is the sender. SIGPIPE is how a neighbour's end is felt. */
function isCrash({ stage, waitStatus }: RankEnd): boolean {
  const signal = waitStatus & 0x7f;
  return stage === 0 && signal !== 0 && signal !== constants.signals.SIGPIPE;
}
