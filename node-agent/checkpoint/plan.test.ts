import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkpointActionOf, type CheckpointSeen, type CheckpointState } from './plan.ts';

const states: readonly CheckpointState[] = [
  'Preparing',
  'Prepared',
  'Dumping',
  'Dumped',
  'Committed',
  'Saved',
  'Aborted',
];
const uid = 'one';

const seenOf = (
  step: string | null,
  state: CheckpointState | null,
  more: Partial<CheckpointSeen> = {},
  held = true,
) =>
  ({
    order: step === null ? null : { checkpointUid: uid, step, hold: false },
    record: state === null ? null : { checkpointUid: uid, state, held, holdUntilMs: 1000 },
    alive: true,
    ready: true,
    nowMs: 0,
    ...more,
  }) satisfies CheckpointSeen;

const rows: [string, CheckpointSeen, string | null][] = [
  ['nothing is ordered', seenOf(null, null), null],
  ['the first order', seenOf('Prepare', null), 'begin'],
  ['begun and ready', seenOf('Prepare', 'Preparing'), 'prepare'],
  ['begun and no rank started yet', seenOf('Prepare', 'Preparing', { ready: false }), 'wakeAt'],
  ['prepared waits for the others', seenOf('Prepare', 'Prepared'), 'wakeAt'],
  ['prepared and all others too', seenOf('Dump', 'Prepared'), 'dump'],
  ['never prepared', seenOf('Dump', 'Preparing'), 'abort'],
  ['dumped waits for the others', seenOf('Dump', 'Dumped'), 'wakeAt'],
  ['dumped and all others too', seenOf('Commit', 'Dumped'), 'commit'],
  ['not held since its dump', seenOf('Commit', 'Dumped', {}, false), 'abort'],
  ['never dumped', seenOf('Commit', 'Prepared'), 'abort'],
  ['committed runs again', seenOf('Commit', 'Committed'), 'release'],
  ['committed and running is brought to the disk', seenOf('Commit', 'Committed', {}, false), 'seal'],
  ['saved and running', seenOf('Commit', 'Saved', {}, false), null],
  ['called off', seenOf('Abort', 'Prepared'), 'abort'],
  ['called off already', seenOf('Abort', 'Aborted', {}, false), null],
  ['its ranks end', seenOf('Dump', 'Dumped', { alive: false }), 'abort'],
  ['its ranks end once it is committed', seenOf('Commit', 'Committed', { alive: false }, false), 'seal'],
  ['held too long', seenOf('Dump', 'Dumped', { nowMs: 1000 }), 'abort'],
  ['held too long once it is saved', seenOf(null, 'Saved', { nowMs: 1000 }), 'release'],
  ['nothing more is said', seenOf(null, 'Dumped'), 'wakeAt'],
];

test.each(rows)('%s', (_, seen, kind) => {
  expect(checkpointActionOf(seen)?.kind ?? null).toBe(kind);
});

test('another checkpoint gives up what is unfinished, and begins when nothing is held', () => {
  const other = { checkpointUid: 'two', step: 'Prepare', hold: false };
  const kindOf = (state: CheckpointState, held: boolean) =>
    checkpointActionOf(seenOf(null, state, { order: other }, held))?.kind;
  expect(states.map((state) => kindOf(state, false))).toEqual([
    ...['abort', 'abort', 'abort', 'abort'],
    ...['seal', 'begin', 'begin'],
  ]);
  expect(kindOf('Saved', true)).toBe('release');
});

/** What each action brings about when it succeeds. */
function after(seen: CheckpointSeen): CheckpointSeen | null {
  const action = checkpointActionOf(seen);
  const { record } = seen;
  if (action === null) return null;
  if (action.kind === 'wakeAt') return { ...seen, nowMs: action.ms };
  if (action.kind === 'begin' || record === null)
    return {
      ...seen,
      record: {
        checkpointUid: seen.order?.checkpointUid ?? '',
        state: 'Preparing',
        held: false,
        holdUntilMs: seen.nowMs + 1000,
      },
    };
  switch (action.kind) {
    case 'prepare':
      return { ...seen, record: { ...record, state: 'Prepared', held: true } };
    case 'dump':
      return { ...seen, record: { ...record, state: 'Dumped' } };
    case 'commit':
      return { ...seen, record: { ...record, state: 'Committed', held: action.hold } };
    case 'release':
      return { ...seen, record: { ...record, held: false } };
    case 'seal':
      return { ...seen, record: { ...record, state: 'Saved' } };
    case 'abort':
      return { ...seen, record: { ...record, state: 'Aborted', held: false } };
  }
}

const anySeen: fc.Arbitrary<CheckpointSeen> = fc.record({
  order: fc.option(
    fc.record({
      checkpointUid: fc.constantFrom('one', 'two'),
      step: fc.constantFrom('Prepare', 'Dump', 'Commit', 'Abort'),
      hold: fc.boolean(),
    }),
  ),
  record: fc.option(
    fc.record({
      checkpointUid: fc.constantFrom('one', 'two'),
      state: fc.constantFrom(...states),
      held: fc.boolean(),
      holdUntilMs: fc.integer({ min: 0, max: 100 }),
    }),
  ),
  alive: fc.boolean(),
  ready: fc.boolean(),
  nowMs: fc.integer({ min: 0, max: 200 }),
});

test('whatever is ordered, no sandbox stays held beyond its time, and it comes to rest', () => {
  fc.assert(
    fc.property(anySeen, (start) => {
      let seen: CheckpointSeen = start;
      for (let step = 0; step < 20; step++) {
        const next = after(seen);
        if (next === null) {
          if (seen.record !== null && seen.nowMs >= seen.record.holdUntilMs)
            expect(seen.record.held).toBe(false);
          return;
        }
        seen = next;
      }
      throw new Error(`no rest: ${JSON.stringify(seen)}`);
    }),
  );
});
