// What the PMI-1 engine asks its owner to do.
//
// `answer` and `bad` are orders for pid 1 of the sandbox: consume so many bytes of the rank's request stream, write the
// reply, append the note to the journal, all or nothing and once. A rank has at most one such order under way; the
// engine hears of its end through `carriedOut(rank)`, after which the rank's bytes are to be peeked again.
import type { Delta } from '../kvs.ts';
import type { SpawnRequest } from './spawn.ts';

export type PmiOrder = { rank: number; consume: number; reply: string; note: Buffer | null };

export type PmiAction =
  | ({ kind: 'answer' } & PmiOrder)
  /** An order like any other, for a request that breaks the protocol; to be counted and logged. */
  | ({ kind: 'bad'; reason: string } & PmiOrder)
  /** Nothing to do for this rank until: more bytes arrive, its fence ends, its question is answered, its order is
   * carried out, or the results of past fences are known again. */
  | { kind: 'wait'; rank: number; until: WaitEnd }
  /** The rank called abort: the whole job ends with this exit code (0..255). The request stays unconsumed. */
  | { kind: 'abort'; rank: number; exitCode: number; message: string }
  /** To be answered by `answered(token, ...)`. The token is the same when asked again after a restart. */
  | { kind: 'ask'; rank: number; token: number; question: PmiQuestion }
  /** All local ranks entered this fence, with these puts. */
  | { kind: 'fence'; fence: number; puts: Delta }
  /** This fence can never be entered by all local ranks: it is to fail for everybody. */
  | { kind: 'fenceFailed'; fence: number; message: string }
  /**
   * Under the policy Abort: a rank waits in a fence that has failed, by the end of `dead` unless that is null. It gets no
   * answer, since MPI libraries go on whatever a barrier's answer says; the whole job ends.
   */
  | { kind: 'broken'; rank: number; fence: number; dead: number | null; message: string }
  /** From this fence on no local rank takes part. */
  | { kind: 'absent'; fence: number };

export type WaitEnd = 'bytes' | 'fence' | 'answer' | 'order' | 'restored';

export type PmiQuestion =
  | { kind: 'publish'; service: string; port: string }
  | { kind: 'lookup'; service: string }
  | { kind: 'unpublish'; service: string }
  | { kind: 'spawn'; spawn: SpawnRequest };

/** `value` is the port of a lookup, or the error codes of a spawn (`0,0,...`, may be absent). */
export type PmiResult = { ok: true; value?: string } | { ok: false; message: string };
