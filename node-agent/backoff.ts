// How long to wait before trying again: doubling from the first wait to the longest, with jitter so that agents that lost
// the same hub do not come back at the same moment.

export function backoff(
  attempt: number,
  firstMs: number,
  longestMs: number,
  random: () => number = Math.random,
): number {
  const whole = Math.min(longestMs, firstMs * 2 ** Math.min(attempt, 20));
  return whole / 2 + (random() * whole) / 2;
}
