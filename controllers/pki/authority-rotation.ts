/**
 * How the cluster's authority is replaced without anybody noticing: the next one is made and told to everybody while the old one
 * still signs; then the next one signs while the old one is still believed; then the old one is forgotten. Pure: which step is due
 * follows from what is kept and the time.
 */
import type { KeyAndCertificate } from './certificate.ts';

export interface Authorities {
  /** Signs. */
  readonly current: KeyAndCertificate;
  /** Is believed already and will sign. */
  readonly next?: KeyAndCertificate | undefined;
  /** PEM of the one that signed before and is believed still. */
  readonly previous?: string | undefined;
  /** When the step before was taken. */
  readonly sinceMs: number;
}

export interface RotationTimes {
  /** Validity of an authority of which a third is left when the next is made. */
  readonly validMs: number;
  /** In which everybody reads what is told, however late. */
  readonly overlapMs: number;
  /** Of a node's certificate. */
  readonly nodeValidMs: number;
}

const dayMs = 86_400_000;
export const usualTimes: RotationTimes = { validMs: 3650 * dayMs, overlapMs: dayMs, nodeValidMs: 7 * dayMs };

export type RotationStep = 'None' | 'MakeNext' | 'Promote' | 'DropPrevious';

/** `beganMs` is when the current authority was made; `askedMs` when an administrator last asked for another. */
export function rotationStepOf(
  { next, previous, sinceMs }: Authorities,
  at: { readonly nowMs: number; readonly beganMs: number; readonly askedMs?: number | undefined },
  times: RotationTimes = usualTimes,
): RotationStep {
  const agoMs = at.nowMs - sinceMs;
  if (next !== undefined) return agoMs >= times.overlapMs ? 'Promote' : 'None';
  if (previous !== undefined) return agoMs >= times.nodeValidMs + times.overlapMs ? 'DropPrevious' : 'None';
  if (at.askedMs !== undefined && at.askedMs > at.beganMs) return 'MakeNext';
  return at.nowMs - at.beganMs >= (times.validMs * 2) / 3 ? 'MakeNext' : 'None';
}

/** After the step; `made` is the new authority where one is called for. */
export function rotated(
  authorities: Authorities,
  step: RotationStep,
  nowMs: number,
  made?: KeyAndCertificate,
): Authorities {
  const { current, next, previous } = authorities;
  switch (step) {
    case 'None':
      return authorities;
    case 'MakeNext':
      return { current, next: made, previous, sinceMs: nowMs };
    case 'Promote':
      return { current: next ?? current, previous: current.cert, sinceMs: nowMs };
    case 'DropPrevious':
      return { current, sinceMs: nowMs };
  }
}

/** PEM of all that are believed, the one that signs first. */
export function bundleOf({ current, next, previous }: Authorities): string {
  return [current.cert, next?.cert, previous]
    .filter((cert) => cert !== undefined)
    .map((cert) => `${cert.trim()}\n`)
    .join('');
}
