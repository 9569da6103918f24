/**
 * The checkpoint that a group's policy takes before its wall time ends (checkpointPolicy.beforeWallTime): when it is due, what it is, and
 * what has come of it. The warning comes first; the group is ended once every image is safe. Its ranks stand still while they are
 * saved, so that time does not count. Pure.
 */
import { isTrue } from '../../crds/conditions.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import { cutStateOf } from '../checkpoint/seen.ts';
import { policyCheckpointOf } from './checkpoint-policy.ts';
import type { EndRequest, Seen } from './seen.ts';
import { activeMsOf } from './wall-time.ts';

const usualLeadSeconds = 30;
/** Longer than this the end of the wall time is not put off. */
const deadlineSeconds = 600;

/** One for each run of the group. */
export function finalNameOf({ metadata }: ProcessGroup, incarnation: number): string {
  return `${metadata.name}-walltime-${incarnation}`;
}

export function finalCheckpointOf(group: ProcessGroup, name: string): Checkpoint {
  const made = policyCheckpointOf(group);
  const { generateName: _generateName, ...metadata } = made.metadata;
  return {
    ...made,
    metadata: { ...metadata, name },
    spec: { ...made.spec, then: 'Stop', deadlineSeconds },
  };
}

/** How long before the end: half of the warning's time, so that ranks have the other half to react. */
export function leadSecondsOf({ limits }: ProcessGroup['spec']): number {
  const { wallTimeSeconds = 0, warningSeconds } = limits ?? {};
  return warningSeconds === undefined ? Math.min(usualLeadSeconds, wallTimeSeconds / 4) : warningSeconds / 2;
}

/** 0: now; undefined: none is asked for, or it was taken. */
export function finalDueInMs({ group, nowMs, final }: Seen): number | undefined {
  const { checkpointPolicy, limits } = group.spec;
  if (checkpointPolicy?.beforeWallTime !== true || final !== undefined) return undefined;
  if (limits?.wallTimeSeconds === undefined) return undefined;
  const dueMs = (limits.wallTimeSeconds - leadSecondsOf(group.spec)) * 1000;
  return Math.max(0, dueMs - activeMsOf(group.status, nowMs));
}

/** Its ranks stand still for it, or are about to be ended by it. */
export function putsOffEnd({ final }: Pick<Seen, 'final'>): boolean {
  if (!final) return false;
  const state = cutStateOf({ checkpoint: final });
  return ['Preparing', 'Dumping', 'Committing', 'Saving', 'Ready'].includes(state);
}

/** Saved in time: it ends now, rather than to run on for a moment that would be lost. */
export function finalRequestOf(final: Checkpoint | undefined): EndRequest | undefined {
  if (!final || cutStateOf({ checkpoint: final }) !== 'Ready') return undefined;
  const { name } = final.metadata;
  const message = `limits.wallTimeSeconds is about to end: the group was saved as Checkpoint ${name} and ended; muster restart ${name} goes on`;
  return { kill: true, reason: 'WallTimeExceeded', message };
}

/** Why it could not be saved before it ended; empty when it was not to be. */
export function unsavedText({ final }: Pick<Seen, 'final'>): string {
  const failed = final?.status?.conditions?.find(({ type }) => type === 'Failed');
  if (!final || !failed) return '';
  const why = isTrue(final.status?.conditions, 'Failed') ? failed.message : 'there was not enough time';
  return `; it could not be saved before: Checkpoint ${final.metadata.name}: ${why}`;
}
