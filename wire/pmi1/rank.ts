// What the engine knows of one rank. All but `waiting` and `ordered` is rebuilt from the journal's notes; those two
// come back by peeking the rank's unread bytes again.
import type { SpawnReader } from './spawn.ts';

/** The request at the head of the rank's stream that cannot be answered yet. */
export type Waiting =
  | { until: 'fence'; consume: number }
  | { until: 'answer'; consume: number; token: number; about: 'publish' | 'lookup' | 'unpublish' | 'spawn' }
  | { until: 'restored'; consume: number; key: string };

export class RankState {
  readonly rank: number;
  waiting: Waiting | null = null;
  /** An order is under way; the bytes it consumes may still be seen. */
  ordered = false;
  initialized = false;
  finalized = false;
  gone = false;
  aborted = false;
  /** The fences this rank was released from. */
  fences = 0;
  /** The last fence this rank entered. */
  entered = 0;
  /** In the middle of a line that is being thrown away. */
  skipping = false;
  /** Bytes of keys and values it ever put. */
  putBytes = 0;
  /** Questions of this rank that were answered. */
  asked = 0;
  spawn: SpawnReader | null = null;

  constructor(rank: number) {
    this.rank = rank;
  }

  /** Fences wait for it. */
  get takesPart(): boolean {
    return !this.finalized && !this.gone;
  }
}
