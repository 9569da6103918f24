import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Lull } from './lull.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

function waiting(lull: Lull): { over: boolean } {
  const state = { over: false };
  void lull.wait().then(() => (state.over = true));
  return state;
}

test('what is over is taken away soon, where nothing is launched', async () => {
  const state = waiting(new Lull());
  await vi.advanceTimersByTimeAsync(59);
  expect(state.over).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(state.over).toBe(true);
});

test('a launch is waited for, and what follows it at once; all that wait go on together', async () => {
  const lull = new Lull();
  const { promise, resolve } = Promise.withResolvers<void>();
  const launch = lull.during(() => promise);
  const first = waiting(lull);
  await vi.advanceTimersByTimeAsync(200);
  const second = waiting(lull);
  resolve();
  await launch;
  await vi.advanceTimersByTimeAsync(50);
  await lull.during(() => Promise.resolve());
  await vi.advanceTimersByTimeAsync(59);
  expect([first.over, second.over]).toEqual([false, false]);
  await vi.advanceTimersByTimeAsync(1);
  expect([first.over, second.over]).toEqual([true, true]);
});

test('launches without end do not keep it waiting, nor one that fails', async () => {
  const lull = new Lull();
  void lull.during(() => new Promise(() => undefined));
  await expect(lull.during(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  const state = waiting(lull);
  await vi.advanceTimersByTimeAsync(499);
  expect(state.over).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(state.over).toBe(true);
});

test('nobody waits for one that is given up', async () => {
  const lull = new Lull();
  const state = waiting(lull);
  lull.come();
  await vi.advanceTimersByTimeAsync(0);
  expect(state.over).toBe(true);
});
