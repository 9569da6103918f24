/**
 * How a job of many sandboxes is saved at one cut, as two tables: what one sandbox does on its node (Member), and what the
 * Checkpoint controller decides for all of them (Cut). Orders are levels, not messages: a Cut's state says what every Member is
 * told, again and again; a Member tells its state, again and again. Anything between may be lost, late, or killed.
 *
 * Why the cut is one: every sandbox is dumped while all are frozen. That all were is known only once each has said `Committed`
 * after all had said `Dumped`, since a Member that thaws by itself before (its time is up, its agent was started anew) goes to
 * Aborted and never commits. The tables know no time, no messages and no I/O; promela.ts makes a model of them for SPIN.
 */
import type { StateTable } from './state-table.ts';

export type MemberState =
  | 'Idle'
  | 'Preparing'
  | 'Prepared'
  | 'Dumping'
  | 'Dumped'
  /** Runs again; the image is being brought to the disk and checked. */
  | 'Committed'
  /** The same, but the sandbox stays frozen, since it is to be ended. */
  | 'CommittedHeld'
  | 'Saved'
  | 'SavedHeld'
  | 'Aborted';

export type MemberEvent =
  | 'ToldPrepare'
  | 'ToldDump'
  | 'ToldCommit'
  | 'ToldCommitHeld'
  | 'ToldAbort'
  | 'Done'
  | 'Failed'
  | 'TimedOut'
  | 'Restarted'
  | 'Ended';

/** Each idempotent, in the order of the row. Thaw gives up this checkpoint's hold only; Discard removes the image. */
export type MemberAction = 'Freeze' | 'Dump' | 'Save' | 'Thaw' | 'Discard';

export const memberTable = {
  role: 'Member',
  first: 'Idle',
  events: {
    ToldPrepare: 'the order says Prepare',
    ToldDump: 'the order says Dump',
    ToldCommit: 'the order says Commit, and not to stay frozen',
    ToldCommitHeld: 'the order says Commit, and to stay frozen',
    ToldAbort: 'the order says Abort, or names another checkpoint',
    Done: 'what the state is at work on has succeeded',
    Failed: 'what the state is at work on has failed',
    TimedOut: 'the sandbox was held for as long as the order lets it',
    Restarted: 'the agent was started anew',
    Ended: 'the sandbox has ended',
  },
  rows: {
    Idle: {
      ToldPrepare: ['Preparing', 'Freeze'],
      ToldDump: ['Aborted'],
      ToldCommit: ['Aborted'],
      ToldCommitHeld: ['Aborted'],
      ToldAbort: ['Aborted'],
    },
    Preparing: {
      Done: ['Prepared'],
      ToldDump: ['Aborted', 'Thaw', 'Discard'],
      ToldCommit: ['Aborted', 'Thaw', 'Discard'],
      ToldCommitHeld: ['Aborted', 'Thaw', 'Discard'],
      Failed: ['Aborted', 'Thaw', 'Discard'],
      ToldAbort: ['Aborted', 'Thaw', 'Discard'],
      TimedOut: ['Aborted', 'Thaw', 'Discard'],
      Restarted: ['Aborted', 'Thaw', 'Discard'],
      Ended: ['Aborted', 'Thaw', 'Discard'],
    },
    Prepared: {
      ToldDump: ['Dumping', 'Dump'],
      ToldCommit: ['Aborted', 'Thaw', 'Discard'],
      ToldCommitHeld: ['Aborted', 'Thaw', 'Discard'],
      ToldAbort: ['Aborted', 'Thaw', 'Discard'],
      TimedOut: ['Aborted', 'Thaw', 'Discard'],
      Restarted: ['Aborted', 'Thaw', 'Discard'],
      Ended: ['Aborted', 'Thaw', 'Discard'],
    },
    Dumping: {
      Done: ['Dumped'],
      ToldCommit: ['Aborted', 'Thaw', 'Discard'],
      ToldCommitHeld: ['Aborted', 'Thaw', 'Discard'],
      Failed: ['Aborted', 'Thaw', 'Discard'],
      ToldAbort: ['Aborted', 'Thaw', 'Discard'],
      TimedOut: ['Aborted', 'Thaw', 'Discard'],
      Restarted: ['Aborted', 'Thaw', 'Discard'],
      Ended: ['Aborted', 'Thaw', 'Discard'],
    },
    Dumped: {
      ToldCommit: ['Committed', 'Thaw', 'Save'],
      ToldCommitHeld: ['CommittedHeld', 'Save'],
      ToldAbort: ['Aborted', 'Thaw', 'Discard'],
      TimedOut: ['Aborted', 'Thaw', 'Discard'],
      Restarted: ['Aborted', 'Thaw', 'Discard'],
      Ended: ['Aborted', 'Thaw', 'Discard'],
    },
    Committed: {
      Done: ['Saved'],
      Failed: ['Aborted', 'Discard'],
      Restarted: ['Committed', 'Save'],
      ToldAbort: ['Aborted', 'Discard'],
    },
    CommittedHeld: {
      Done: ['SavedHeld'],
      Failed: ['Aborted', 'Thaw', 'Discard'],
      TimedOut: ['Committed', 'Thaw'],
      Restarted: ['Committed', 'Thaw', 'Save'],
      ToldCommit: ['Committed', 'Thaw'],
      ToldAbort: ['Aborted', 'Thaw', 'Discard'],
    },
    Saved: {
      ToldAbort: ['Aborted', 'Discard'],
    },
    SavedHeld: {
      TimedOut: ['Saved', 'Thaw'],
      Restarted: ['Saved', 'Thaw'],
      ToldCommit: ['Saved', 'Thaw'],
      ToldAbort: ['Aborted', 'Thaw', 'Discard'],
    },
    Aborted: {},
  },
} as const satisfies StateTable<MemberState, MemberEvent, MemberAction>;

export type CutState =
  'Waiting' | 'Preparing' | 'Dumping' | 'Committing' | 'Saving' | 'Ready' | 'Aborting' | 'Failed';

export type CutEvent =
  | 'Begun'
  | 'AllPrepared'
  | 'AllDumped'
  | 'AllCommitted'
  | 'AllSaved'
  | 'SomeAborted'
  | 'GivenUp'
  | 'AllAborted';

/** Written to the Checkpoint before anybody is told: after a restart the controller goes on from its state alone. */
export const cutTable = {
  role: 'Cut',
  first: 'Waiting',
  events: {
    Begun: 'the group runs, and no other checkpoint of it is at work',
    AllPrepared: 'every sandbox has said that it is prepared, or is further',
    AllDumped: 'every sandbox has said that it is dumped, or is further',
    AllCommitted: 'every sandbox has said that it was held from its dump until all were dumped',
    AllSaved: "every sandbox's image is on its node's disk and was checked",
    SomeAborted: 'a sandbox has given up, has ended or is lost',
    GivenUp: 'the deadline has passed, or the object is being deleted',
    AllAborted: 'every sandbox has said that it has given up, has ended, or is on a node that is lost',
  },
  rows: {
    Waiting: { Begun: ['Preparing'], GivenUp: ['Failed'] },
    Preparing: { AllPrepared: ['Dumping'], SomeAborted: ['Aborting'], GivenUp: ['Aborting'] },
    Dumping: { AllDumped: ['Committing'], SomeAborted: ['Aborting'], GivenUp: ['Aborting'] },
    Committing: { AllCommitted: ['Saving'], SomeAborted: ['Aborting'], GivenUp: ['Aborting'] },
    Saving: { AllSaved: ['Ready'], SomeAborted: ['Aborting'], GivenUp: ['Aborting'] },
    Ready: {},
    Aborting: { AllAborted: ['Failed'] },
    Failed: {},
  },
} as const satisfies StateTable<CutState, CutEvent, never>;

export type Step = 'Prepare' | 'Dump' | 'Commit' | 'Abort';

/** What members are told while the cut is in this state; undefined: nothing. */
export const stepOfCut = {
  Waiting: undefined,
  Preparing: 'Prepare',
  Dumping: 'Dump',
  Committing: 'Commit',
  Saving: 'Commit',
  Ready: undefined,
  Aborting: 'Abort',
  Failed: undefined,
} as const satisfies Record<CutState, Step | undefined>;

const order = ['Idle', 'Preparing', 'Prepared', 'Dumping', 'Dumped', 'Committed', 'Saved'];

/** Whether a state that was told is this one or one that comes after it; never for Aborted. */
export function hasReached(toldBy: string, state: 'Prepared' | 'Dumped' | 'Committed' | 'Saved'): boolean {
  return order.indexOf(toldBy) >= order.indexOf(state);
}

/** What has happened, by what all sandboxes of the group have told: undefined when nothing has that the state waits for. */
export function cutEventOf(state: CutState, members: readonly (string | undefined)[]): CutEvent | undefined {
  const all = (reached: Parameters<typeof hasReached>[1]): boolean =>
    members.length > 0 && members.every((each) => each !== undefined && hasReached(each, reached));
  if (state === 'Aborting') return members.every((each) => each === 'Aborted') ? 'AllAborted' : undefined;
  if (members.includes('Aborted')) return 'SomeAborted';
  if (state === 'Preparing' && all('Prepared')) return 'AllPrepared';
  if (state === 'Dumping' && all('Dumped')) return 'AllDumped';
  if (state === 'Committing' && all('Committed')) return 'AllCommitted';
  if (state === 'Saving' && all('Saved')) return 'AllSaved';
  return undefined;
}
