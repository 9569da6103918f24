// What a sandbox does next for the checkpoint that is ordered, from the order and from how far it has come: pure, level-
// triggered. The states and what they promise stand in agent.proto (CheckpointFact). It knows no engine and no files.

export type CheckpointState =
  'Preparing' | 'Prepared' | 'Dumping' | 'Dumped' | 'Committed' | 'Saved' | 'Aborted';

export interface CheckpointSeen {
  /** Null: nothing is said. */
  readonly order: { readonly checkpointUid: string; readonly step: string; readonly hold: boolean } | null;
  readonly record: {
    readonly checkpointUid: string;
    readonly state: CheckpointState;
    readonly held: boolean;
    /** From when on the sandbox is not held any longer. */
    readonly holdUntilMs: number;
  } | null;
  /** Its ranks run, or are frozen, and nothing is about to end them. */
  readonly alive: boolean;
  /** Ranks have been started and all of them is connected. */
  readonly ready: boolean;
  readonly nowMs: number;
}

export type CheckpointAction =
  | { kind: 'begin' }
  | { kind: 'prepare' }
  | { kind: 'dump' }
  | { kind: 'commit'; hold: boolean }
  | { kind: 'release' }
  | { kind: 'seal' }
  | { kind: 'abort'; reason: string }
  | { kind: 'wakeAt'; ms: number };

const unfinished: readonly CheckpointState[] = ['Preparing', 'Prepared', 'Dumping', 'Dumped'];

/** Null: nothing is to be done until something changes. */
export function checkpointActionOf(seen: CheckpointSeen): CheckpointAction | null {
  const { order, record, nowMs } = seen;
  if (record === null || (order !== null && order.checkpointUid !== record.checkpointUid))
    return nextOf(seen);
  const ordered = order?.step ?? '';
  const { state, held } = record;
  if (ordered === 'Abort' && state !== 'Aborted') return { kind: 'abort', reason: 'Cancelled' };
  if (unfinished.includes(state) && !seen.alive) return { kind: 'abort', reason: 'Ended' };
  if (nowMs >= record.holdUntilMs) {
    if (unfinished.includes(state)) return { kind: 'abort', reason: 'DeadlineExceeded' };
    if (held) return { kind: 'release' };
  }
  switch (state) {
    case 'Preparing':
      if (ordered === 'Dump' || ordered === 'Commit') return { kind: 'abort', reason: 'NotPrepared' };
      return seen.ready ? { kind: 'prepare' } : waitFor(record.holdUntilMs);
    case 'Prepared':
      if (ordered === 'Dump') return { kind: 'dump' };
      if (ordered === 'Commit') return { kind: 'abort', reason: 'NotDumped' };
      return waitFor(record.holdUntilMs);
    case 'Dumping':
      return ordered === 'Commit' ? { kind: 'abort', reason: 'NotDumped' } : waitFor(record.holdUntilMs);
    case 'Dumped':
      if (ordered === 'Commit' && order !== null)
        return held ? { kind: 'commit', hold: order.hold } : { kind: 'abort', reason: 'NotHeld' };
      return waitFor(record.holdUntilMs);
    case 'Committed':
      if (held && order !== null && !order.hold) return { kind: 'release' };
      return { kind: 'seal' };
    case 'Saved':
      if (held && order !== null && !order.hold) return { kind: 'release' };
      return held ? waitFor(record.holdUntilMs) : null;
    case 'Aborted':
      return held ? { kind: 'release' } : null;
  }
}

/** Another checkpoint than the one before is ordered, or the first. */
function nextOf({ order, record }: CheckpointSeen): CheckpointAction | null {
  if (order === null) return null;
  if (record !== null) {
    if (unfinished.includes(record.state)) return { kind: 'abort', reason: 'Superseded' };
    if (record.held) return { kind: 'release' };
    if (record.state === 'Committed') return { kind: 'seal' };
  }
  return { kind: 'begin' };
}

const waitFor = (ms: number): CheckpointAction => ({ kind: 'wakeAt', ms });
