// Traces without anybody who hands them on: who takes part in a launch, a checkpoint or a migration knows its uid, and from that
// follow the ids of the trace and of each span in it. So a span that is told twice, by whoever was started anew meanwhile, is one,
// and no message carries anything for it. Where spans go is another's to say.
import { createHash } from 'node:crypto';

export interface TraceSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Absent: the trace begins with it. */
  readonly parentId?: string;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  /** Why it failed; absent: it did not. */
  readonly error?: string;
}

export type Trace = (span: TraceSpan) => void;

/** A run of a group, by the incarnation that its sandboxes were started with. */
export const launchOf = (groupUid: string, incarnation: number): string =>
  `launch/${groupUid}/${incarnation}`;
/** Of a Checkpoint, or of a Migration, which saves by the same means. */
export const saveOf = (uid: string): string => `save/${uid}`;

export const traceIdOf = (whole: string): string => digest(whole, 16);
/** `step` names one span in it; of the first it is ''. */
export const spanIdOf = (whole: string, step = ''): string => digest(`${whole}#${step}`, 8);

const digest = (text: string, bytes: number): string =>
  createHash('sha256')
    .update(text)
    .digest('hex')
    .slice(0, bytes * 2);
