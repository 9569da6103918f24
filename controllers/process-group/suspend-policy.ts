/**
 * What suspending a group means: its own word, or, of a group that Kueue admits and evicts, that its resources are given back, since
 * a suspended job counts there as one that holds nothing. Pure.
 */
import type { ProcessGroup, ProcessGroupSpec } from '../../crds/types.gen.ts';

/** Kueue's own label, on every job that it manages. */
export const queueLabel = 'kueue.x-k8s.io/queue-name';

export const isQueued = ({ metadata }: ProcessGroup): boolean => metadata.labels?.[queueLabel] !== undefined;

export function suspendPolicyOf(group: ProcessGroup): NonNullable<ProcessGroupSpec['suspendPolicy']> {
  const { suspendPolicy } = group.spec;
  if (!isQueued(group)) return suspendPolicy ?? 'Freeze';
  return suspendPolicy === undefined || suspendPolicy === 'Freeze' ? 'Stop' : suspendPolicy;
}

/** What of it can never be. */
export function suspendPolicyTrouble(group: ProcessGroup): string | undefined {
  if (!isQueued(group) || group.spec.suspendPolicy !== 'Freeze') return undefined;
  return `spec.suspendPolicy: Freeze keeps memory and nodes, and Kueue (label ${queueLabel}) counts a suspended group as holding none: use Stop or leave it out`;
}
