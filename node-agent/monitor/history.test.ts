import { expect, test } from 'vitest';
import { History } from './history.ts';

const steps = [
  { stepMs: 10_000, points: 6 },
  { stepMs: 60_000, points: 60 },
];

test('means over steps, the finest first, the oldest forgotten', () => {
  const history = new History(2, steps);
  for (let second = 0; second < 120; second += 5) history.add(second * 1000, [second, 1]);
  const [fine, coarse] = history.tiers();
  expect(fine).toMatchObject({ endMs: 120_000, stepMs: 10_000, columns: 2 });
  expect(fine?.values).toEqual([62.5, 1, 72.5, 1, 82.5, 1, 92.5, 1, 102.5, 1, 112.5, 1]);
  expect(coarse?.values).toEqual([27.5, 1, 87.5, 1]);
});

test('a gap stays empty, and one longer than the memory empties it without a walk through all of it', () => {
  const history = new History(1, steps);
  history.add(0, [1]);
  history.add(30_000, [2]);
  expect(history.tiers()[0]?.values).toEqual([1, NaN, NaN, 2]);
  history.add(1e15, [3]);
  expect(history.tiers()[0]?.values).toEqual([NaN, NaN, NaN, NaN, NaN, 3]);
});

test('a time before the last one is counted into the last step', () => {
  const history = new History(1, steps);
  history.add(25_000, [1]);
  history.add(5_000, [3]);
  expect(history.tiers()[0]).toMatchObject({ endMs: 30_000, values: [2] });
});

test('its memory does not grow', () => {
  const history = new History(2, steps);
  const { bytes } = history;
  for (let second = 0; second < 10_000; second++) history.add(second * 1000, [second, second]);
  expect(history.bytes).toBe(bytes);
  expect(bytes).toBeLessThan(1024);
});
