// What to do next with one sandbox, from what is wanted and what is seen: pure, level-triggered, the same answer after any
// restart. Each action is idempotent and changes what is seen, then the plan is asked again; an empty plan waits for the
// next change. It knows no descriptors, no files and no time but `nowMs`.

import type { KeeperState } from '../wire/fencing.ts';

/**
 * Prepare: it is built, and no rank is started before the hub says Run. Gone: the hub wants it ended and forgotten, logs too.
 * Unknown: the hub has not spoken yet, so nothing is begun or ended.
 */
export type Want = 'Prepare' | 'Run' | 'Freeze' | 'End' | 'Kill' | 'Keep' | 'Gone' | 'Unknown';

/**
 * New: only its spec is there (a launch may have been cut off). Live: rank-init runs and is adopted. Lost: it was launched
 * and is gone without a record. Ended: the record is written.
 */
export type Stage = 'New' | 'Live' | 'Lost' | 'Ended';

export interface Seen {
  readonly want: Want;
  readonly stage: Stage;
  /** New: something stands in its cgroup, or its pid 1 was found. Ended: rank-init or its cgroup is still there. */
  readonly leftover: boolean;
  /** Live: the table is known to be true and everything of it is connected. A frozen rank-init tells nothing before it is thawed. */
  readonly connected: boolean;
  readonly started: boolean;
  readonly ranksRunning: number;
  /** Processes beside rank-init, co-processes and strays too. */
  readonly othersRunning: boolean;
  /** A cause to end all ranks found on the node: a failed rank, an abort, a limit. Empty: none. */
  readonly cause: string;
  /** When SIGTERM was sent; null: ending has not begun. */
  readonly endingSinceMs: number | null;
  readonly killed: boolean;
  readonly graceMs: number;
  readonly frozen: boolean;
  /** It is frozen and saved: whoever ends it now wants it brought back from its image. */
  readonly saved: boolean;
  /** It has left for another node, or comes from one: others decide what becomes of it. */
  readonly moving: boolean;
  /** Undefined: the ranks run without one. */
  readonly lease: KeeperState | undefined;
  /** Every stream has been read to its end. */
  readonly drained: boolean;
  readonly nowMs: number;
}

export type Action =
  | { kind: 'clearLeftover' }
  | { kind: 'launch' }
  | { kind: 'start' }
  | { kind: 'freeze' }
  | { kind: 'thaw' }
  | { kind: 'terminate'; cause: string }
  | { kind: 'vacate' }
  | { kind: 'kill' }
  | { kind: 'killOthers' }
  | { kind: 'wakeAt'; ms: number }
  | { kind: 'record' }
  | { kind: 'recordNeverStarted' }
  | { kind: 'recordLost' }
  | { kind: 'dismiss' }
  | { kind: 'forget' };

export function planOf(seen: Seen): Action[] {
  if (seen.want === 'Unknown' && seen.stage === 'New') return [];
  if (seen.want === 'Gone') return gonePlan(seen);
  if (seen.moving && (seen.stage === 'New' || seen.stage === 'Live')) return [];
  switch (seen.stage) {
    case 'New':
      return newPlan(seen);
    case 'Live':
      return livePlan(seen);
    case 'Lost':
      if (seen.leftover) return [{ kind: 'clearLeftover' }];
      return seen.drained ? [{ kind: 'recordLost' }] : [];
    case 'Ended':
      return seen.leftover ? [{ kind: 'dismiss' }] : [];
  }
}

function gonePlan(seen: Seen): Action[] {
  return seen.stage === 'Live' || seen.leftover ? [{ kind: 'dismiss' }] : [{ kind: 'forget' }];
}

function newPlan(seen: Seen): Action[] {
  if (seen.leftover) return [{ kind: 'clearLeftover' }];
  return seen.want === 'Prepare' || seen.want === 'Run' || seen.want === 'Freeze'
    ? [{ kind: 'launch' }]
    : [{ kind: 'recordNeverStarted' }];
}

function livePlan(seen: Seen): Action[] {
  // Rank-init is being killed, or must not be thawed.
  if (seen.lease === 'Over' || (seen.lease === 'Fenced' && !hasEnded(seen))) return [];
  const unwanted = seen.want === 'End' || seen.want === 'Kill' || seen.want === 'Keep';
  if (unwanted && seen.saved) return [{ kind: 'vacate' }];
  if (!seen.connected) return seen.frozen && (unwanted || seen.want === 'Run') ? [{ kind: 'thaw' }] : [];
  if (!seen.started) {
    if (unwanted) return [{ kind: 'recordNeverStarted' }];
    const waits = seen.lease !== undefined && seen.lease !== 'Holding';
    return seen.want === 'Unknown' || seen.want === 'Prepare' || waits ? [] : [{ kind: 'start' }];
  }
  if (seen.ranksRunning === 0) return endedPlan(seen);
  if (seen.want === 'Kill' || seen.want === 'Keep') return seen.killed ? [] : [{ kind: 'kill' }];
  const cause = seen.cause !== '' ? seen.cause : seen.want === 'End' ? 'ended on request' : '';
  if (cause !== '' || seen.endingSinceMs !== null) return endingPlan(seen, cause);
  if (seen.want === 'Freeze' && !seen.frozen) return [{ kind: 'freeze' }];
  if (seen.want === 'Run' && seen.frozen) return [{ kind: 'thaw' }];
  return [];
}

const hasEnded = (seen: Seen): boolean => seen.connected && seen.started && seen.ranksRunning === 0;

/** SIGTERM, then the grace period, then SIGKILL. A frozen process takes no SIGTERM, so it is thawed for it. */
function endingPlan(seen: Seen, cause: string): Action[] {
  if (seen.killed) return [];
  if (seen.endingSinceMs === null)
    return seen.frozen ? [{ kind: 'thaw' }, { kind: 'terminate', cause }] : [{ kind: 'terminate', cause }];
  const killAt = seen.endingSinceMs + seen.graceMs;
  if (seen.nowMs >= killAt) return [{ kind: 'kill' }];
  return seen.frozen ? [{ kind: 'thaw' }, { kind: 'wakeAt', ms: killAt }] : [{ kind: 'wakeAt', ms: killAt }];
}

/** No rank runs any more: whatever else lives is killed, so that the streams end; then the record, then the rest. */
function endedPlan(seen: Seen): Action[] {
  if (seen.othersRunning) return [{ kind: 'killOthers' }];
  return seen.drained ? [{ kind: 'record' }] : [];
}
