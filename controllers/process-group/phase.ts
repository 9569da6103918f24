/**
 * Where a group stands: one word from facts, never from memory. Pure; the table of what is done in each phase is plan.ts.
 */
import { isTrue } from '../../crds/conditions.ts';
import { mayEndSaved, suspensionWish } from './drain.ts';
import type { SandboxView, Seen } from './seen.ts';
import { isRetried } from './restore-retry.ts';
import { isQueued } from './suspend-policy.ts';
import { suspensionStateOf } from './suspension.ts';
import { isVacating, verdictOf } from './verdict.ts';
import { isClearing, wardenStep } from './warden.ts';

export type Phase =
  | 'Deleting'
  | 'Finished'
  | 'Invalid'
  | 'NotSupported'
  /** To stand still, and it holds no node. */
  | 'Held'
  | 'Pending'
  /** There is a place for all ranks, but it is not on record yet. */
  | 'Placing'
  | 'Starting'
  | 'Running'
  | 'Suspending'
  | 'Frozen'
  /** A checkpoint is taken for a suspension. */
  | 'Saving'
  | 'Resuming'
  /** Ranks are being ended for a suspension. */
  | 'Vacating'
  /** They have ended; the nodes are to be given back. */
  | 'Vacated'
  /** A node is lost, or could not bring back what was saved: ranks are being ended, or fenced off, for the group to start again. */
  | 'Restarting'
  /** It is certain that none of them runs any more; the group may be placed anew. */
  | 'Restarted'
  /** A verdict stands, and ranks are still there. */
  | 'Ending'
  /** Nothing runs any more; how it ended is to be written. */
  | 'Ended';

export function phaseOf(seen: Seen): Phase {
  const { group, sandboxes } = seen;
  if (group.metadata.deletionTimestamp !== undefined) return 'Deleting';
  if (isFinished(seen)) return 'Finished';
  if (sandboxes.length === 0) return unplacedPhase(seen);
  const verdict = verdictOf(seen);
  const vacating = isVacating(seen);
  // A lost node is waited for: what runs there must not run twice.
  if (vacating && !verdict) return isVacated(seen) ? 'Vacated' : 'Vacating';
  if (!verdict) {
    if (isRetried(seen) && !isClearing(group)) return 'Restarting';
    const step = wardenStep(seen);
    if (step.state === 'Clearing') return 'Restarting';
    if (step.actions.includes('StartCopy')) return 'Restarted';
  }
  if (sandboxes.every((view) => isOver(view, verdict !== undefined))) return 'Ended';
  if (verdict) return 'Ending';
  const wish = suspensionWish(seen);
  if (wish === 'Stop') return 'Vacating';
  if (wish === 'Checkpoint') {
    const saved = suspensionStateOf(seen);
    if (saved === 'Saved') return mayEndSaved(seen) ? 'Vacating' : 'Saving';
    if (saved !== 'Failed') return 'Saving';
    // Whoever preempts a job has given its nodes to another one.
    if (isQueued(group) && group.spec.suspend === true) return 'Vacating';
  }
  const live = sandboxes.filter((view) => view.state === 'Live');
  const frozen = live.filter(({ known }) => known?.fact.frozen && known.fact.checkpoint?.held !== true);
  if (wish !== undefined) {
    const still = sandboxes.every(
      (view) => view.state !== 'Live' || view.known?.fact.frozen || view.known?.fact.state === 'Pending',
    );
    return still && live.length > 0 ? 'Frozen' : 'Suspending';
  }
  if (frozen.length > 0) return 'Resuming';
  return group.status?.runningTime !== undefined || sandboxes.every(isStarted) ? 'Running' : 'Starting';
}

/** Nothing of it is left on any node: what counts its Pods has to find none. */
function isVacated({ sandboxes, carriers }: Seen): boolean {
  return sandboxes.every((view) => isOver(view, false)) && (carriers?.views.length ?? 0) === 0;
}

export function isFinished({ group }: Seen): boolean {
  return isTrue(group.status?.conditions, 'Succeeded') || isTrue(group.status?.conditions, 'Failed');
}

/** Nothing more will be heard of it; of a group that has to end, a lost node is not waited for. */
export function isOver(view: SandboxView, hasToEnd: boolean): boolean {
  if (view.state === 'Over' || view.state === 'Lost') return true;
  return hasToEnd && view.standing === 'Lost';
}

export function isStarted(view: SandboxView): boolean {
  const state = view.known?.fact.state;
  return state === 'Running' || state === 'Ending' || state === 'Ended';
}

function unplacedPhase(seen: Seen): Phase {
  if (verdictOf(seen)) return 'Ended';
  if (seen.invalid.length > 0) return 'Invalid';
  if (seen.unsupported.length > 0) return 'NotSupported';
  if (seen.group.spec.suspend === true || seen.drain !== undefined) return 'Held';
  return seen.placing?.kind === 'placed' ? 'Placing' : 'Pending';
}
