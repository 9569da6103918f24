import { expect, test } from 'vitest';
import { untried, verdictAfter, type Verdict } from './verdict.ts';

const after = (runs: string, threshold = 3, from: Verdict = untried): Verdict =>
  [...runs].reduce(
    (verdict, run, at) => verdictAfter(verdict, { ok: run === '+', message: run }, threshold, at + 1),
    from,
  );

test('a check turns after as many runs in a row as its threshold says, either way', () => {
  expect(after('--')).toMatchObject({ passed: true, failures: 2, changedMs: 0 });
  expect(after('---')).toMatchObject({ passed: false, failures: 3, changedMs: 3, message: '-' });
  expect(after('---++')).toMatchObject({ passed: false, failures: 1, changedMs: 3, message: '-' });
  expect(after('---+++')).toMatchObject({ passed: true, failures: 0, changedMs: 6, message: '+' });
});

test('one that comes and goes makes nothing come and go', () => {
  expect(after('--+--+--+')).toMatchObject({ passed: true });
  expect(after('---++-++-++-')).toMatchObject({ passed: false, failures: 3 });
});

test('a threshold of one turns at once; one that was lowered meanwhile counts from now on', () => {
  expect(after('-', 1)).toMatchObject({ passed: false });
  expect(after('-+', 1)).toMatchObject({ passed: true });
  expect(after('+', 1, after('----------', 10))).toMatchObject({ passed: true });
});
