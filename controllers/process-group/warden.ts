/**
 * The warden's part in fencing (wire/fencing.ts) for one group: from what is on record and what is seen to the next row of the table.
 * Pure. Where it stands is read from status: a group in doubt has the hold Fence, one that is cleared to be started elsewhere says
 * so in its condition Running.
 */
import { conditionOf } from '../../crds/conditions.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import {
  copyAfterMs,
  leaseTimesOf,
  warden,
  type LeaseTimes,
  type WardenEvent,
  type WardenState,
} from '../../wire/fencing.ts';
import { stepOf, type Step } from '../../wire/state-table.ts';
import { isSavedFromEviction } from './eviction.ts';
import type { SandboxView, Seen } from './seen.ts';

export const fenceHold = 'Fence' as const;

/** What the ranks of the group run under, as it stands on record since they were placed. */
export function leaseOf({ status }: ProcessGroup): LeaseTimes | undefined {
  const seconds = status?.nodeLeaseSeconds;
  return seconds === undefined ? undefined : leaseTimesOf(seconds);
}

/** Whether the policy is to start the group again, from its beginning or its last checkpoint, when it loses a node. */
export function startsElsewhere({ failurePolicy }: ProcessGroup['spec']): boolean {
  return failurePolicy?.node === 'Restart' || failurePolicy?.node === 'RestoreLatestCheckpoint';
}

/** Whether a lost node is a reason to start the group again; not when that was done as often as it may. */
export function restarts({ spec, status }: ProcessGroup): boolean {
  return startsElsewhere(spec) && (status?.restarts ?? 0) < mostRestarts(spec);
}

export const mostRestarts = ({ failurePolicy }: ProcessGroup['spec']): number =>
  failurePolicy?.maxRestarts ?? 3;

export function isClearing({ status }: ProcessGroup): boolean {
  return conditionOf(status?.conditions, 'Running')?.reason === 'Restarting';
}

export function wardenStep(seen: Seen): Step<WardenState, 'Hold' | 'Release' | 'EndAll' | 'StartCopy'> {
  const state = stateOf(seen.group);
  const event = state === 'Clearing' ? overEvent(seen) : doubtEvent(seen);
  return event === undefined ? { state, actions: [], known: false } : stepOf(warden, state, event);
}

/** The sandboxes on which the group's restart waits, or would. */
export function silentOf(seen: Seen): readonly SandboxView[] {
  const times = leaseOf(seen.group);
  return times === undefined ? [] : seen.sandboxes.filter((view) => isSilent(view, times.expiresAfterMs));
}

/** Sandboxes that were lost with their node, their lease or their Pod; not while the group is being saved from what takes its Pod. */
export function lostOf(seen: Seen): readonly SandboxView[] {
  const isSaving = isSavedFromEviction(seen);
  return seen.sandboxes.filter((view) => isLostWithNode(view) || (!isSaving && isUncarried(view)));
}

/** Its Pod is gone, or is going, and something of it may still be there. */
export function isUncarried({ state, carrierLoss }: SandboxView): boolean {
  return carrierLoss !== undefined && (state === 'Live' || state === 'Waiting');
}

/**
 * By the word of its agent the sandbox was lost with its node, with its lease, with its Pod, or with the node that had pages of it: of
 * that the agent tells before it ends the ranks, whose peers may take it for a failure of theirs.
 */
function isLostWithNode({ state, known }: SandboxView): boolean {
  if (state === 'Lost' || isPodGone(known)) return true;
  const { state: told, reason, move } = known?.fact ?? {};
  if (move?.state === 'Lost') return true;
  return told === 'Failed' && (reason === 'NodeLost' || reason === 'LeaseExpired');
}

const isPodGone = (known: SandboxView['known']): boolean =>
  known?.fact.limitExceeded === 'carrier' ||
  (known?.fact.state === 'Failed' && known.fact.reason === 'CarrierLost');

/** What became of the Pod of one that was lost with it, for people; undefined: it was lost otherwise. */
export function podLossOf({ known, carrierLoss, ordinal, node }: SandboxView): string | undefined {
  return (
    carrierLoss ??
    (isPodGone(known) ? `the carrier Pod of sandbox ${ordinal} on ${node} has ended` : undefined)
  );
}

/** Until time alone may bring the next event; undefined: it brings none. */
export function wardenDueInMs(seen: Seen): number | undefined {
  const times = leaseOf(seen.group);
  if (times === undefined) return undefined;
  if (stateOf(seen.group) !== 'Settled') return lookEveryMs;
  const left = seen.sandboxes
    .filter(({ state, leaseSilentMs }) => state !== 'Over' && leaseSilentMs !== undefined)
    .map(({ leaseSilentMs = 0 }) => times.expiresAfterMs - leaseSilentMs);
  return left.length === 0 ? undefined : Math.max(lookEveryMs, Math.min(...left) + 1);
}

/** Those that are certain to run no rank any more, though nobody has said so. */
export function fencedOf(seen: Seen): readonly SandboxView[] {
  const times = leaseOf(seen.group);
  return times === undefined ? [] : seen.sandboxes.filter((view) => isSilent(view, copyAfterMs(times)));
}

const lookEveryMs = 1_000;

function stateOf(group: ProcessGroup): WardenState {
  if (isClearing(group)) return 'Clearing';
  return group.status?.holds?.some(({ name }) => name === fenceHold) ? 'Doubting' : 'Settled';
}

function doubtEvent(seen: Seen): WardenEvent | undefined {
  const { group } = seen;
  if (restarts(group) && lostOf(seen).length > 0) return 'Lost';
  const times = leaseOf(group);
  if (times === undefined) return undefined;
  const isFenced = restarts(group) && fencedOf(seen).length > 0;
  // In two steps: people see what is waited for.
  if (isFenced && stateOf(group) === 'Doubting') return 'Fenced';
  return restarts(group) && silentOf(seen).length > 0 ? 'Silent' : 'Heard';
}

function overEvent({ group, sandboxes }: Seen): WardenEvent | undefined {
  const times = leaseOf(group);
  const isOver = (view: SandboxView): boolean =>
    view.state === 'Over' ||
    view.state === 'Lost' ||
    // Only of what is granted nothing any more.
    (times !== undefined && view.want === 'Kill' && isSilent(view, copyAfterMs(times)));
  return sandboxes.every(isOver) ? 'AllOver' : undefined;
}

function isSilent({ state, leaseSilentMs }: SandboxView, forMs: number): boolean {
  return state !== 'Over' && state !== 'Lost' && leaseSilentMs !== undefined && leaseSilentMs >= forMs;
}
