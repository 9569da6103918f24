/**
 * How long to wait before trying again: doubling from a first delay to a longest one, with jitter so that those who
 * failed together do not come back together. The one place where retry delays are made. Knows nothing of what is
 * tried or why it failed.
 */
export interface BackoffShape {
  readonly firstMs: number;
  readonly longestMs: number;
}

export const reconcileBackoff: BackoffShape = { firstMs: 20, longestMs: 60_000 };
export const watchBackoff: BackoffShape = { firstMs: 100, longestMs: 10_000 };

/** `attempt` counts failures from 1; `random` is in [0, 1). The delay lies between half and the whole of the step. */
export function backoffMs(shape: BackoffShape, attempt: number, random: number): number {
  const stepMs = Math.min(shape.longestMs, shape.firstMs * 2 ** Math.min(Math.max(attempt, 1) - 1, 40));
  return stepMs * (0.5 + random / 2);
}
