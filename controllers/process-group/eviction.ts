/**
 * Pods of a group that somebody else deletes or evicts while its ranks run: one whose suspendPolicy is Checkpoint is saved within their
 * grace period, and goes on from there in new Pods. One that cannot be saved is lost with its Pod, as any other. Pure.
 */
import type { Seen } from './seen.ts';
import { suspendPolicyOf } from './suspend-policy.ts';
import { suspensionStateOf } from './suspension.ts';

export function isSavedFromEviction(seen: Seen): boolean {
  const { group, sandboxes } = seen;
  if (group.spec.template === undefined || suspendPolicyOf(group) !== 'Checkpoint') return false;
  if (group.status?.runningTime === undefined || suspensionStateOf(seen) === 'Failed') return false;
  return (
    sandboxes.some(({ carrierLeaves }) => carrierLeaves === true) &&
    sandboxes.every(
      ({ state, carrierLoss, carrierLeaves }) =>
        state === 'Live' && (carrierLoss === undefined || carrierLeaves === true),
    )
  );
}
