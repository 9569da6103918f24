import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { native } from '../native/addon/index.ts';
import { Rest } from './rest.ts';

/** Resident pages of files: the programs'. */
const fileKib = (): number =>
  Number(/^RssFile:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('an agent that has had nothing to do for ten seconds gives back the pages of its programs, and goes on', () => {
  let [isIdle, given] = [false, 0];
  const giveBackMemory = (): number => {
    given++;
    return native().giveBackMemory();
  };
  using rest = new Rest({ giveBackMemory }, () => isIdle);
  const before = fileKib();
  rest.begin();
  vi.advanceTimersByTime(60_000);
  isIdle = true;
  rest.begin();
  vi.advanceTimersByTime(9_999);
  expect(given).toBe(0);
  vi.advanceTimersByTime(1);
  expect(given).toBe(1);
  expect(fileKib()).toBeLessThan(before * 0.7);
  expect(JSON.parse(JSON.stringify({ text: 'ü'.normalize('NFD') }))).toEqual({ text: 'u\u0308' });
  vi.advanceTimersByTime(60_000);
  expect(given).toBe(1);
});
