/** The agent's part of a checkpoint goes by the table of the protocol: each state and event is carried through to where it rests. */
import { expect, it } from 'vitest';
import { memberTable, type MemberEvent, type MemberState } from '../../wire/checkpoint-protocol.ts';
import { stepOf } from '../../wire/state-table.ts';
import { checkpointActionOf, type CheckpointSeen } from './plan.ts';

type Record = NonNullable<CheckpointSeen['record']>;

const [nowMs, laterMs] = [1000, 2000];
const unheld: readonly MemberState[] = ['Committed', 'Saved', 'Aborted'];

function recordOf(state: MemberState): Record | null {
  if (state === 'Idle') return null;
  const bare = state.replace(/Held$/, '') as Record['state'];
  return { checkpointUid: 'c', state: bare, held: !unheld.includes(state), holdUntilMs: laterMs };
}

function stateOf(record: Record | null): MemberState {
  if (record === null) return 'Idle';
  const { state, held } = record;
  return held && (state === 'Committed' || state === 'Saved') ? `${state}Held` : state;
}

const orders = {
  ToldPrepare: { step: 'Prepare', hold: false },
  ToldDump: { step: 'Dump', hold: false },
  ToldCommit: { step: 'Commit', hold: false },
  ToldCommitHeld: { step: 'Commit', hold: true },
  ToldAbort: { step: 'Abort', hold: false },
} as const;

/** Where the sandbox rests after the event, or has work to do that takes time. */
function rest(state: MemberState, event: MemberEvent): MemberState {
  let record = recordOf(state);
  const told = event in orders ? orders[event as keyof typeof orders] : undefined;
  // Whether to stay frozen is said with every step.
  const hold = told?.hold === true || (state.endsWith('Held') && event !== 'ToldCommit');
  const order = told ? { checkpointUid: 'c', step: told.step, hold } : null;
  for (let turn = 0; turn < 10; turn++) {
    const action = checkpointActionOf({
      order,
      record,
      alive: event !== 'Ended',
      ready: true,
      nowMs: event === 'TimedOut' ? laterMs : nowMs,
    });
    if (action?.kind === 'begin')
      record = { checkpointUid: 'c', state: 'Preparing', held: true, holdUntilMs: laterMs };
    else if (action?.kind === 'commit') record = { ...record!, state: 'Committed', held: action.hold };
    else if (action?.kind === 'release') record = { ...record!, held: false };
    else if (action?.kind === 'abort') record = { ...record!, state: 'Aborted', held: false };
    else return action?.kind === 'dump' ? 'Dumping' : stateOf(record);
  }
  throw new Error(`${state} does not come to rest after ${event}`);
}

const states = Object.keys(memberTable.rows) as MemberState[];
const events: readonly MemberEvent[] = [...(Object.keys(orders) as MemberEvent[]), 'TimedOut', 'Ended'];

it.each(states.flatMap((state) => events.map((event) => [state, event] as const)))(
  '%s, %s',
  (state, event) => {
    expect(rest(state, event)).toBe(stepOf(memberTable, state, event).state);
  },
);
