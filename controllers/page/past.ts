/**
 * The phases of a group over time, for the timeline, as its status keeps them: nothing is remembered here, so the page knows the same
 * after controllers were started anew.
 */
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { phasesOf } from '../process-group/phase-history.ts';

export type Past = readonly (readonly [phase: string, sinceMs: number])[];

/** Times of objects' making are whole seconds: what was noted within one is its beginning. */
const secondMs = 1000;

export function pastOf({ metadata, status = {} }: ProcessGroup): Past {
  const past: (readonly [string, number])[] = [];
  const add = (phase: string, text: string | undefined): void => {
    const ms = Date.parse(text ?? '');
    if (!Number.isNaN(ms)) past.push([phase, Math.max(ms, past.at(-1)?.[1] ?? ms)]);
  };
  for (const { phase, since } of phasesOf(status)) add(phase, since);
  const createdMs = Date.parse(metadata.creationTimestamp ?? '');
  const first = past[0]?.[1] ?? Infinity;
  return first - createdMs > secondMs ? [['Pending', createdMs], ...past] : past;
}
