import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planOf, type Seen, type Want } from './plan.ts';

const live: Seen = {
  want: 'Run',
  stage: 'Live',
  leftover: false,
  connected: true,
  started: true,
  ranksRunning: 4,
  othersRunning: false,
  cause: '',
  endingSinceMs: null,
  killed: false,
  graceMs: 1000,
  frozen: false,
  saved: false,
  moving: false,
  lease: undefined,
  drained: false,
  nowMs: 5000,
};
const fresh: Seen = { ...live, stage: 'New', started: false, ranksRunning: 0 };

const rows: [string, Seen, string[]][] = [
  ['new and wanted is launched', fresh, ['launch']],
  ['new and wanted frozen is launched too', { ...fresh, want: 'Freeze' }, ['launch']],
  ['new and to be got ready is launched', { ...fresh, want: 'Prepare' }, ['launch']],
  ['launched and to be got ready waits', { ...live, started: false, want: 'Prepare' }, []],
  ['a cut-off launch is cleared first', { ...fresh, leftover: true }, ['clearLeftover']],
  ['new before the hub spoke waits', { ...fresh, want: 'Unknown' }, []],
  ['new and to be ended never starts', { ...fresh, want: 'End' }, ['recordNeverStarted']],
  ['new and unwanted is forgotten', { ...fresh, want: 'Gone' }, ['forget']],
  ['launched is started', { ...live, started: false }, ['start']],
  ['launched but the hub silent waits', { ...live, started: false, want: 'Unknown' }, []],
  [
    'launched and to be ended never starts',
    { ...live, started: false, want: 'Kill' },
    ['recordNeverStarted'],
  ],
  ['launched waits for its lease', { ...live, started: false, lease: 'Unsure' }, []],
  ['launched and under a lease is started', { ...live, started: false, lease: 'Holding' }, ['start']],
  ['fenced and suspended is not thawed', { ...live, frozen: true, lease: 'Fenced' }, []],
  [
    'fenced and to be ended is not thawed for it',
    { ...live, want: 'End', frozen: true, lease: 'Fenced' },
    [],
  ],
  ['fenced and ended is recorded', { ...live, ranksRunning: 0, drained: true, lease: 'Fenced' }, ['record']],
  ['past its lease waits for the end of rank-init', { ...live, want: 'Kill', lease: 'Over' }, []],
  [
    'past its lease and gone is recorded',
    { ...live, stage: 'Lost', drained: true, lease: 'Over' },
    ['recordLost'],
  ],
  ['running waits', live, []],
  ['running and the hub silent runs on', { ...live, want: 'Unknown' }, []],
  [
    'found frozen, nothing is known of it and nothing is done',
    { ...live, want: 'Freeze', connected: false, frozen: true, ranksRunning: 0, othersRunning: true },
    [],
  ],
  [
    'found frozen and to run is thawed first',
    { ...live, connected: false, frozen: true, ranksRunning: 0, othersRunning: true },
    ['thaw'],
  ],
  [
    'found frozen and to be ended is thawed first',
    { ...live, want: 'End', connected: false, frozen: true, ranksRunning: 0 },
    ['thaw'],
  ],
  [
    'found frozen, the hub silent',
    { ...live, want: 'Unknown', connected: false, frozen: true, ranksRunning: 0 },
    [],
  ],
  ['freeze', { ...live, want: 'Freeze' }, ['freeze']],
  ['frozen stays', { ...live, want: 'Freeze', frozen: true }, []],
  ['frozen and silent hub stays frozen', { ...live, want: 'Unknown', frozen: true }, []],
  ['thaw', { ...live, frozen: true }, ['thaw']],
  ['end', { ...live, want: 'End' }, ['terminate']],
  ['end of a frozen one thaws it', { ...live, want: 'End', frozen: true }, ['thaw', 'terminate']],
  [
    'a cause ends it even when the hub is silent',
    { ...live, want: 'Unknown', cause: 'rank 3 failed' },
    ['terminate'],
  ],
  ['grace', { ...live, want: 'End', endingSinceMs: 4500 }, ['wakeAt']],
  ['grace over', { ...live, want: 'End', endingSinceMs: 4000 }, ['kill']],
  ['an ending goes on though the hub wants it to run', { ...live, endingSinceMs: 4000 }, ['kill']],
  ['killed waits', { ...live, want: 'End', endingSinceMs: 0, killed: true }, []],
  ['kill does not ask for grace', { ...live, want: 'Kill' }, ['kill']],
  [
    'strays are killed after the last rank',
    { ...live, ranksRunning: 0, othersRunning: true },
    ['killOthers'],
  ],
  ['output is waited for', { ...live, ranksRunning: 0 }, []],
  ['then the record', { ...live, ranksRunning: 0, drained: true }, ['record']],
  ['lost, its output is read first', { ...live, stage: 'Lost' }, []],
  ['lost', { ...live, stage: 'Lost', drained: true }, ['recordLost']],
  ['ended and rank-init there', { ...live, stage: 'Ended', leftover: true }, ['dismiss']],
  ['ended and kept', { ...live, stage: 'Ended' }, []],
  ['saved and no longer wanted here', { ...live, want: 'Keep', saved: true }, ['vacate']],
  ['saved and wanted all the same', { ...live, saved: true }, []],
  ['moving, whatever is wanted', { ...live, moving: true, want: 'Kill' }, []],
  ['moving and frozen', { ...live, moving: true, frozen: true, want: 'Run' }, []],
  ['coming, not launched', { ...live, stage: 'New', moving: true }, []],
  ['moving and unwanted', { ...live, moving: true, want: 'Gone' }, ['dismiss']],
  ['unwanted and live', { ...live, want: 'Gone' }, ['dismiss']],
  ['unwanted and ended', { ...live, stage: 'Ended', want: 'Gone' }, ['forget']],
];

test.each(rows)('%s', (_, seen, kinds) => {
  expect(planOf(seen).map((action) => action.kind)).toEqual(kinds);
});

const anySeen: fc.Arbitrary<Seen> = fc.record({
  want: fc.constantFrom<Want>('Run', 'Freeze', 'End', 'Kill', 'Keep', 'Gone', 'Unknown'),
  stage: fc.constantFrom('New', 'Live', 'Lost', 'Ended'),
  leftover: fc.boolean(),
  connected: fc.boolean(),
  started: fc.boolean(),
  ranksRunning: fc.integer({ min: 0, max: 3 }),
  othersRunning: fc.boolean(),
  cause: fc.constantFrom('', 'rank 1 failed'),
  endingSinceMs: fc.option(fc.integer({ min: 0, max: 100 })),
  killed: fc.boolean(),
  graceMs: fc.integer({ min: 0, max: 100 }),
  frozen: fc.boolean(),
  saved: fc.boolean(),
  moving: fc.boolean(),
  lease: fc.constantFrom(undefined, 'Unsure', 'Holding', 'Fenced', 'Over'),
  drained: fc.boolean(),
  nowMs: fc.integer({ min: 0, max: 200 }),
});

test('a silent hub never begins, freezes, thaws or forgets anything', () => {
  fc.assert(
    fc.property(anySeen, (seen) => {
      const kinds = planOf({ ...seen, want: 'Unknown', cause: '', endingSinceMs: null }).map(
        (action) => action.kind,
      );
      for (const kind of ['launch', 'start', 'freeze', 'thaw', 'terminate', 'kill', 'forget'])
        expect(kinds).not.toContain(kind);
    }),
  );
});

test('nothing is killed, recorded or started of a sandbox that is not connected', () => {
  fc.assert(
    fc.property(anySeen, (seen) => {
      const actions = planOf({ ...seen, stage: 'Live', connected: false });
      for (const { kind } of actions) expect(['thaw', 'dismiss', 'vacate']).toContain(kind);
    }),
  );
});

test('an unwanted sandbox reaches forget from everywhere', () => {
  fc.assert(
    fc.property(anySeen, (start) => {
      let seen: Seen = { ...start, want: 'Gone' };
      for (let step = 0; step < 3; step++) {
        const [action] = planOf(seen);
        if (action?.kind === 'forget') return;
        expect(action?.kind).toBe('dismiss');
        seen = { ...seen, stage: seen.stage === 'Live' ? 'Lost' : seen.stage, leftover: false };
      }
      throw new Error('not forgotten');
    }),
  );
});
