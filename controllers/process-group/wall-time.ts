/**
 * Wall time of a group, with suspended time left out: what was counted up to activeSince, and what has passed since. Pure.
 */
import type { ProcessGroupStatus } from '../../crds/types.gen.ts';

export function activeMsOf(status: ProcessGroupStatus | undefined, nowMs: number): number {
  const sinceMs = status?.activeSince === undefined ? nowMs : Date.parse(status.activeSince);
  return (status?.activeSeconds ?? 0) * 1000 + Math.max(0, nowMs - sinceMs);
}

/** The two fields for a group that counts, or does not. */
export function countedTime(
  status: ProcessGroupStatus | undefined,
  counts: boolean,
  nowMs: number,
): Pick<ProcessGroupStatus, 'activeSince' | 'activeSeconds'> {
  const activeSeconds = Math.round(activeMsOf(status, nowMs)) / 1000;
  if (!counts) return activeSeconds === 0 ? {} : { activeSeconds };
  const before = status?.activeSeconds ?? 0;
  return {
    activeSince: status?.activeSince ?? new Date(nowMs).toISOString(),
    ...(before === 0 ? {} : { activeSeconds: before }),
  };
}
