/**
 * Pods of a group that somebody else deletes or evicts while its ranks run: one that is saved when it is suspended, or that is brought
 * back when it loses a node, is saved within their grace period, and goes on from there in new Pods. One that cannot be saved is lost
 * with its Pod, as any other. Pure.
 */
import type { ProcessGroup } from '../../crds/types.gen.ts';
import type { Seen } from './seen.ts';
import { suspendPolicyOf } from './suspend-policy.ts';
import { suspensionStateOf } from './suspension.ts';

/** Whether its Pods are to have the time for it. */
export const savesOnEviction = (group: ProcessGroup): boolean =>
  suspendPolicyOf(group) === 'Checkpoint' || group.spec.failurePolicy?.node === 'RestoreLatestCheckpoint';

export function isSavedFromEviction(seen: Seen): boolean {
  const { group, sandboxes } = seen;
  if (group.spec.template === undefined || !savesOnEviction(group)) return false;
  if (group.status?.runningTime === undefined || suspensionStateOf(seen) === 'Failed') return false;
  return (
    sandboxes.some(({ carrierLeaves }) => carrierLeaves === true) &&
    sandboxes.every(
      ({ state, standing, carrierLoss, carrierLeaves }) =>
        state === 'Live' && standing !== 'Lost' && (carrierLoss === undefined || carrierLeaves === true),
    )
  );
}
