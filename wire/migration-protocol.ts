/**
 * How sandboxes of a job that runs move to other nodes, as three tables: what the node does that a sandbox leaves (Leaver), what the
 * node does that it comes to (Comer), and what the Migration controller decides for all that move together (Move). Orders are
 * levels, as in checkpoint-protocol.ts: told again and again, and late, twice or never without harm.
 *
 * Why a rank never runs on two nodes: who has it stands in one place, the group's status, and changes by one compare-and-set
 * write. A Leaver that has said `Left` stands still until it is told what became of that write: Stay (it was not, and never will
 * be, since the same record says that nobody is moving any more), or Gone. A Comer that has said `Placed` stands still until the
 * record names it. Where pages follow (PostCopy) the record that names the Comer also says that its pages are with the Leaver: as long
 * as it does a Leaver is told Hold, which changes nothing, and stands still as it did. Neither ever concludes anything from silence, a time-out or its own restart. The tables know no time, no
 * messages and no I/O; promela.ts makes a model of them for SPIN.
 */
import type { StateTable } from './state-table.ts';

export type LeaverState =
  | 'Here'
  | 'Preparing'
  | 'Prepared'
  /** Is being frozen and dumped. */
  | 'Leaving'
  /** Stands still, and its image can be fetched. */
  | 'Left'
  /** Runs on, and leaves no more by this migration. */
  | 'Stayed'
  | 'Gone';

export type LeaverEvent =
  'ToldPrepare' | 'ToldLeave' | 'ToldStay' | 'ToldGone' | 'Done' | 'Failed' | 'Restarted' | 'Ended';

/** Each idempotent, in the order of the row. Thaw gives up this migration's hold only; Discard removes the image. */
export type LeaverAction = 'Look' | 'Freeze' | 'Dump' | 'Thaw' | 'Discard' | 'Kill';

export const leaverTable = {
  role: 'Leaver',
  first: 'Here',
  events: {
    ToldPrepare: 'the order says Prepare',
    ToldLeave: 'the order says Leave',
    ToldStay: "the group's record has it here, and nobody moves",
    ToldGone: "the group's record has it elsewhere, or is gone",
    Done: 'what the state is at work on has succeeded',
    Failed: 'what the state is at work on has failed',
    Restarted: 'the agent was started anew',
    Ended: 'the sandbox has ended, or is being ended',
  },
  rows: {
    Here: { ToldPrepare: ['Preparing', 'Look'], ToldLeave: ['Stayed'], ToldGone: ['Gone', 'Kill'] },
    Preparing: {
      Done: ['Prepared'],
      Failed: ['Stayed'],
      ToldStay: ['Stayed'],
      Restarted: ['Stayed'],
      Ended: ['Stayed'],
      ToldGone: ['Gone', 'Kill'],
    },
    Prepared: {
      ToldLeave: ['Leaving', 'Freeze', 'Dump'],
      ToldStay: ['Stayed'],
      Ended: ['Stayed'],
      ToldGone: ['Gone', 'Kill'],
    },
    Leaving: {
      Done: ['Left'],
      Failed: ['Stayed', 'Discard', 'Thaw'],
      ToldStay: ['Stayed', 'Discard', 'Thaw'],
      Restarted: ['Stayed', 'Discard', 'Thaw'],
      Ended: ['Stayed', 'Discard', 'Thaw'],
      ToldGone: ['Gone', 'Kill'],
    },
    Left: { ToldStay: ['Stayed', 'Discard', 'Thaw'], ToldGone: ['Gone', 'Kill'] },
    Stayed: { ToldGone: ['Gone', 'Kill'] },
    Gone: {},
  },
} as const satisfies StateTable<LeaverState, LeaverEvent, LeaverAction>;

export type ComerState =
  | 'Absent'
  | 'Preparing'
  | 'Prepared'
  /** Its image is fetched and restored. */
  | 'Placing'
  /** Is all there, stands still, and nobody reaches it. */
  | 'Placed'
  /** Runs, and some of its memory is still where it left. */
  | 'Following'
  | 'Running'
  /** Ran, and what was missing of its memory is missing for ever. */
  | 'Lost'
  | 'Refused'
  | 'Gone';

export type ComerEvent =
  | 'ToldPrepare'
  | 'ToldPlace'
  | 'ToldFollow'
  | 'ToldRun'
  | 'ToldGone'
  | 'Done'
  | 'Failed'
  | 'Restarted'
  | 'Ended';

export type ComerAction = 'Look' | 'Restore' | 'Discard' | 'Plug' | 'Thaw' | 'Kill';

export const comerTable = {
  role: 'Comer',
  first: 'Absent',
  events: {
    ToldPrepare: 'the order says Prepare',
    ToldPlace: 'the order says Place, and who has the image',
    ToldFollow: "the group's record has it here, and its pages where it left",
    ToldRun: "the group's record has it here, and nobody moves, or has pages for it",
    ToldGone: 'it is not to come any more',
    Done: 'what the state is at work on has succeeded',
    Failed: 'what the state is at work on has failed',
    Restarted: 'the agent was started anew',
    Ended: 'its processes are gone',
  },
  rows: {
    Absent: { ToldPrepare: ['Preparing', 'Look'], ToldPlace: ['Preparing', 'Look'], ToldGone: ['Gone'] },
    Preparing: {
      Done: ['Prepared'],
      Failed: ['Refused'],
      Restarted: ['Preparing', 'Look'],
      ToldGone: ['Gone'],
    },
    Prepared: { ToldPlace: ['Placing', 'Restore'], ToldGone: ['Gone'] },
    Placing: {
      Done: ['Placed'],
      Failed: ['Refused', 'Discard'],
      Restarted: ['Refused', 'Discard'],
      ToldGone: ['Gone', 'Kill', 'Discard'],
    },
    Placed: {
      ToldRun: ['Running', 'Plug', 'Thaw', 'Discard'],
      ToldFollow: ['Following', 'Plug', 'Thaw'],
      Ended: ['Refused', 'Discard'],
      ToldGone: ['Gone', 'Kill', 'Discard'],
    },
    Following: {
      Done: ['Running', 'Discard'],
      ToldRun: ['Lost', 'Kill', 'Discard'],
      ToldGone: ['Gone', 'Kill', 'Discard'],
    },
    Lost: { ToldGone: ['Gone'] },
    Running: { ToldGone: ['Gone', 'Kill'] },
    Refused: { ToldGone: ['Gone'] },
    Gone: {},
  },
} as const satisfies StateTable<ComerState, ComerEvent, ComerAction>;

export type MoveState =
  'Pending' | 'Preparing' | 'Copying' | 'Switching' | 'Following' | 'Completed' | 'Aborting' | 'Failed';

export type MoveEvent =
  | 'Begun'
  | 'NothingToDo'
  | 'AllPrepared'
  | 'AllPlaced'
  | 'SomeFailed'
  | 'GivenUp'
  | 'Committed'
  | 'AllFollow'
  | 'AllRun'
  | 'SomeLost'
  | 'AllStayed';

/**
 * Claim: the group's record names this migration, unless it names another. Commit and Release both end the claim: one of them does. Where
 * pages follow Commit keeps it, and the record says that they do, until Settle.
 */
export type MoveAction = 'Claim' | 'Commit' | 'Release' | 'Settle';

export const moveTable = {
  role: 'Move',
  first: 'Pending',
  events: {
    Begun: 'the group runs, nothing else is at work on it, and there is a place for what is to move',
    NothingToDo: 'nothing of the group is where it is to leave',
    AllPrepared: 'every node that is left or come to has said that it can',
    AllPlaced: 'all that move stand still where they left and where they came to',
    SomeFailed: 'one of them has given up, has ended or is lost',
    GivenUp: 'the deadline has passed, the object is being deleted, or the group is being ended',
    Committed: "the group's record has them where they came to",
    AllFollow: 'all run where they came to, and pages of some are still where they left',
    AllRun: 'all run where they came to, and all of their pages are there',
    SomeLost: 'one of them has ended or was lost after it was the one on record',
    AllStayed: 'all run on where they were, have ended, or are on a node that is lost',
  },
  rows: {
    Pending: { Begun: ['Preparing', 'Claim'], NothingToDo: ['Completed'], GivenUp: ['Failed'] },
    Preparing: {
      AllPrepared: ['Copying'],
      SomeFailed: ['Aborting', 'Release'],
      GivenUp: ['Aborting', 'Release'],
      Committed: ['Switching'],
    },
    Copying: {
      AllPlaced: ['Copying', 'Commit'],
      Committed: ['Switching'],
      SomeFailed: ['Aborting', 'Release'],
      GivenUp: ['Aborting', 'Release'],
    },
    Switching: {
      AllRun: ['Completed', 'Settle'],
      AllFollow: ['Following'],
      SomeLost: ['Failed', 'Settle'],
    },
    Following: { AllRun: ['Completed', 'Settle'], SomeLost: ['Failed', 'Settle'] },
    Aborting: { AllStayed: ['Failed'], Committed: ['Switching'] },
    Completed: {},
    Failed: {},
  },
} as const satisfies StateTable<MoveState, MoveEvent, MoveAction>;

/** What an agent is told of a sandbox: by the Migration that is at work on it, and Stay by the group's record when none is. */
const leaverTold: Readonly<Record<string, LeaverEvent>> = {
  Prepare: 'ToldPrepare',
  Leave: 'ToldLeave',
  Stay: 'ToldStay',
};
const comerTold: Readonly<Record<string, ComerEvent>> = {
  Prepare: 'ToldPrepare',
  Place: 'ToldPlace',
  Follow: 'ToldFollow',
  Stay: 'ToldRun',
};

/** The event that an order is for who leaves; undefined: nothing is said, or nothing that an agent of this build knows. */
export const leaverEventOf = (step: string): LeaverEvent | undefined => leaverTold[step];
export const comerEventOf = (step: string): ComerEvent | undefined => comerTold[step];

/** What both sides have told, for the table; a side that is lost counts as one that has given up. */
export interface Told {
  readonly leaver: string | undefined;
  readonly comer: string | undefined;
}

const reached = (order: readonly string[], told: string | undefined, state: string): boolean =>
  told !== undefined && order.indexOf(told) >= order.indexOf(state);
const leaverOrder: readonly LeaverState[] = ['Here', 'Preparing', 'Prepared', 'Leaving', 'Left'];
const comerOrder: readonly ComerState[] = [
  'Absent',
  'Preparing',
  'Prepared',
  'Placing',
  'Placed',
  'Following',
  'Running',
];

/** Whether it has said that it is that far, or further; never of who has given up. */
export const leaverReached = (told: string | undefined, state: LeaverState): boolean =>
  reached(leaverOrder, told, state);
export const comerReached = (told: string | undefined, state: ComerState): boolean =>
  reached(comerOrder, told, state);

export const hasGivenUp = ({ leaver, comer }: Told): boolean =>
  leaver === 'Stayed' || leaver === 'Gone' || comer === 'Refused' || comer === 'Gone';

/** After it was committed: who came is no more, or who still has its pages. */
export const isLost = ({ leaver, comer }: Told): boolean =>
  comer === 'Refused' || comer === 'Gone' || comer === 'Lost' || (comer === 'Following' && leaver === 'Gone');

/** What has happened by what all of them have told; undefined: nothing that the state waits for. */
export function moveEventOf(state: MoveState, told: readonly Told[]): MoveEvent | undefined {
  switch (state) {
    case 'Preparing':
      if (told.some(hasGivenUp)) return 'SomeFailed';
      return told.every(
        (each) => leaverReached(each.leaver, 'Prepared') && comerReached(each.comer, 'Prepared'),
      )
        ? 'AllPrepared'
        : undefined;
    case 'Copying':
      if (told.some(hasGivenUp)) return 'SomeFailed';
      return told.every((each) => each.leaver === 'Left' && each.comer === 'Placed')
        ? 'AllPlaced'
        : undefined;
    case 'Switching':
    case 'Following':
      if (told.some(isLost)) return 'SomeLost';
      if (told.every(({ comer }) => comer === 'Running')) return 'AllRun';
      return state === 'Switching' && told.every(({ comer }) => comerReached(comer, 'Following'))
        ? 'AllFollow'
        : undefined;
    case 'Aborting':
      return told.every(({ leaver }) => leaver === 'Here' || leaver === 'Stayed' || leaver === 'Gone')
        ? 'AllStayed'
        : undefined;
    case 'Pending':
    case 'Completed':
    case 'Failed':
      return undefined;
  }
}
