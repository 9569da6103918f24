import { describe, expect, it } from 'vitest';
import type { RankEnd, SandboxFact } from '../../wire/agent-types.ts';
import { causeIn, causeOf, isOriginal, type Cause } from './cause.ts';
import type { SandboxView } from './seen.ts';

type Given = Partial<Pick<SandboxFact, 'failures' | 'abort' | 'brokenFence' | 'limitExceeded' | 'state'>>;

const none = { state: 'Running', failures: [], abort: null, brokenFence: null, limitExceeded: '' };
const factOf = (given: Given): SandboxFact => ({ ...none, ...given }) as unknown as SandboxFact;
const end = (rank: number, more: Partial<RankEnd> = {}): RankEnd => ({
  rank, waitStatus: 0, stage: 0, error: 0, message: '', endedNs: 100, byUs: false, withoutFinalize: false, ...more,
}); // prettier-ignore
const exits = (rank: number, code = 1, endedNs = 100): RankEnd =>
  end(rank, { waitStatus: code << 8, endedNs });
const signalled = (rank: number, signal: number, more: Partial<RankEnd> = {}): RankEnd =>
  end(rank, { waitStatus: signal, ...more });
const aborts = (rank: number, atNs = 100): SandboxFact['abort'] => ({ rank, exitCode: 5, message: '', atNs });
const broken = { fence: 1, rank: 9, message: '', atNs: 100 };

/** Kind and rank in one word. */
function named(cause: Cause | undefined): string {
  if (!cause) return 'none';
  if ('end' in cause) return `${cause.kind} ${String(cause.end.rank)}`;
  return cause.kind === 'abort' ? `abort ${String(cause.abort.rank)}` : cause.kind;
}

/** What happened, the cause when the end of a rank ends the group, and when it does not. */
const within: [string, Given, string, string][] = [
  ['nothing', {}, 'none', 'none'],
  ['a rank exits', { failures: [exits(1)] }, 'exit 1', 'none'],
  ['a rank was ended by us', { failures: [signalled(1, 15, { byUs: true })] }, 'none', 'none'],
  ['a crash after an exit', { failures: [exits(1), signalled(2, 11)] }, 'crash 2', 'none'],
  ['a crash and an abort', { failures: [signalled(2, 6)], abort: aborts(1, 50) }, 'crash 2', 'abort 1'],
  ['a crash that we brought about', { failures: [signalled(2, 11, { byUs: true })], abort: aborts(1) }, 'abort 1', 'abort 1'],
  ['a broken pipe, which follows from others', { failures: [exits(1), signalled(2, 13)] }, 'exit 1', 'none'],
  ['a broken pipe alone', { failures: [signalled(2, 13)] }, 'exit 2', 'none'],
  ['a kill from outside', { failures: [exits(1), signalled(2, 9)] }, 'crash 2', 'none'],
  ['an exit before an abort', { failures: [exits(1, 3, 90)], abort: aborts(2) }, 'exit 1', 'abort 2'],
  ['an exit after an abort', { failures: [exits(1, 3, 110)], abort: aborts(2) }, 'abort 2', 'abort 2'],
  ['the exit of who aborted', { failures: [exits(2, 5, 100)], abort: aborts(2) }, 'abort 2', 'abort 2'],
  ['an abort and a broken fence', { abort: aborts(2), brokenFence: broken }, 'abort 2', 'abort 2'],
  ['a broken fence', { brokenFence: broken }, 'brokenFence', 'brokenFence'],
  ['a rank that could not start', { failures: [signalled(1, 9), end(2, { stage: 7 })] }, 'notStarted 2', 'notStarted 2'],
  ['a limit', { limitExceeded: 'memory', failures: [signalled(1, 9)] }, 'limit', 'limit'],
  ['the sandbox failed', { state: 'Failed' }, 'sandbox', 'sandbox'],
]; // prettier-ignore

/** What the sandboxes tell, one after another. */
const among: [string, Given[], string][] = [
  [
    'a crash, though a neighbour aborted',
    [{ abort: aborts(1) }, { failures: [signalled(2, 11)] }],
    'crash 2',
  ],
  [
    'a crash, though a neighbour exited',
    [{ failures: [exits(1)] }, { failures: [signalled(2, 9)] }],
    'crash 2',
  ],
  ['an exit rather than those who waited', [{ brokenFence: broken }, { failures: [exits(2)] }], 'exit 2'],
  ['a lost sandbox rather than an abort', [{ abort: aborts(1) }, { state: 'Failed' }], 'sandbox'],
];

const viewsOf = (given: Given[]): SandboxView[] =>
  given.map((each, order) => ({ known: { fact: factOf(each), failureOrder: order } }) as SandboxView);

describe('the cause of a failure', () => {
  it.each(within)('within a sandbox: %s', (_what, given, cause, continuing) => {
    expect(named(causeIn(factOf(given), false))).toBe(cause);
    expect(named(causeIn(factOf(given), true))).toBe(continuing);
  });

  it.each(among)('among sandboxes: %s', (_what, given, cause) => {
    expect(named(causeOf(viewsOf(given), false)?.cause)).toBe(cause);
    expect(named(causeOf(viewsOf([...given].reverse()), false)?.cause)).toBe(cause);
  });

  it('is the first that was told of among equals', () => {
    const crashes = [1, 2].map((rank) => ({ failures: [signalled(rank, 11)] }));
    expect(named(causeOf(viewsOf(crashes), false)?.cause)).toBe('crash 1');
    const exited = [2, 1].map((rank) => ({ failures: [exits(rank)] }));
    expect(named(causeOf(viewsOf(exited), false)?.cause)).toBe('exit 2');
  });

  it('is original only when it cannot follow from another', () => {
    const areOriginal = (...all: Given[]): boolean[] =>
      all.map((given) => isOriginal(causeIn(factOf(given), false)!));
    expect(
      areOriginal({ failures: [signalled(1, 11)] }, { limitExceeded: 'memory' }, { state: 'Failed' }),
    ).toEqual([true, true, true]);
    expect(areOriginal({ failures: [exits(1)] }, { abort: aborts(1) }, { brokenFence: broken })).toEqual([
      false,
      false,
      false,
    ]);
  });
});
