import { expect, test } from 'vitest';
import { ClockOffset } from './clock-offset.ts';

function clocks() {
  const now = { wallMs: 1_000_000, steadyMs: 0 };
  const offset = new ClockOffset(
    () => now.wallMs,
    () => now.steadyMs,
  );
  const pass = (ms: number) => {
    now.wallMs += ms;
    now.steadyMs += ms;
  };
  return { now, offset, pass };
}

test('half of the way there and back is taken off, and the quickest answer counts', () => {
  const { now, offset, pass } = clocks();
  expect(offset.offsetMs).toBeNull();
  const sent = now.steadyMs;
  pass(100);
  offset.answered(sent, 999_050); // asked at 1,000,000 of a node that is 1 s ahead
  expect(offset.offsetMs).toBe(1000);
  pass(5000);
  offset.answered(now.steadyMs - 900, now.wallMs - 450 - 3000); // slow, and so worth less
  expect(offset.offsetMs).toBe(1000);
  offset.answered(now.steadyMs - 5000, 1); // slower than any truth
  expect(offset.offsetMs).toBe(1000);
});

test('a clock that runs backwards is a jump, and what was known before is forgotten', () => {
  const { now, offset, pass } = clocks();
  offset.answered(now.steadyMs, now.wallMs);
  expect(offset.offsetMs).toBe(0);
  pass(1000);
  now.wallMs -= 3_600_000;
  offset.look();
  expect(offset).toMatchObject({ jumps: 1, lastJumpMs: -3_600_000, offsetMs: null });
  pass(1000);
  offset.look();
  expect(offset.jumps).toBe(1);
});
