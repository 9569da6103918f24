// The condition types of our kinds and the closed list of reasons, each with the line of the runbook that
// tells a person what to do. Conditions are the API; phases are only printed. Pure; it does not decide
// which condition holds, that is each controller's own file.
import type { Condition } from './objects.ts';

export const conditionTypes = {
  ProcessGroup: ['Placed', 'Running', 'Suspended', 'Succeeded', 'Failed', 'Reconciling', 'Stalled'],
  Checkpoint: ['Ready', 'Durable', 'Failed', 'Reconciling', 'Stalled'],
  Migration: ['Completed', 'Failed', 'Reconciling', 'Stalled'],
  NodeMonitor: [
    'Ready',
    'Healthy',
    'Draining',
    'Drained',
    'Reclaimed',
    'MemoryPressure',
    'DiskPressure',
    'Reconciling',
    'Stalled',
  ],
} as const;

export type ConditionType = (typeof conditionTypes)[keyof typeof conditionTypes][number];

/** Reason and what to do about it. */
export const reasons = {
  // Placed
  Placed: 'Nothing to do: every rank has a node.',
  NotPlacedYet: 'Nothing to do: placement has not been tried yet.',
  Insufficient: 'Wait for ranks to end, or ask for less: the message names what is short and where.',
  NoNetworkFree:
    'Wait for groups to end, or give the control plane another --network-pool: the message names what has the addresses.',
  NoSuchNode: 'Correct spec.placement.nodes, or start an agent on the node named in the message.',
  NodeNotReady:
    'See `muster get nm`: a node named in the group has no living agent; start it or name another node.',
  NodeCordoned: 'Uncordon the node named in the message, or name another.',
  NoNodeMatches: 'Correct spec.placement.nodeSelector, or label a node as it says.',
  Queued: 'Wait: the group has its place in the queue; `muster describe pg` shows what is ahead.',
  WaitingForDependency: 'Wait for the groups in spec.dependsOn; the message names which and what they lack.',
  WaitingForCarriers:
    'Wait, or see `kubectl describe pod`: the message says which carrier Pods do not run yet, and why.',
  CarriersTimedOut:
    'Make room for all Pods of the group at once, or correct its template: all were let go and are made anew after a while.',
  CheckpointNotReady:
    'Wait until the Checkpoint named in the message is Ready and nodes with its images are there, or name another.',
  StoreDamaged:
    'See `muster doctor`: the store may have lost that the group has run; the message says what to do.',
  Released: 'Nothing to do: the group has ended or was vacated and holds no node.',
  // Running
  Starting: 'Wait: sandboxes and ranks are being started.',
  RanksRunning: 'Nothing to do: all ranks run.',
  SomeRanksEnded: 'Nothing to do: some ranks have ended by themselves, the others run.',
  NotStarted: 'Nothing to do: nothing was started yet.',
  Stopping: 'Wait: ranks were told to end; they are killed after spec.gracePeriodSeconds.',
  Finished: 'Nothing to do: the group has ended; Succeeded or Failed tells how.',
  Restarting:
    'Wait: a node is lost or could not bring ranks back, and the group starts again once none of its ranks can run any more.',
  AgentUnreachable:
    'Ranks go on running. Start the agent on the node named in the message again; nothing is lost.',
  // Suspended
  Frozen: 'Set spec.suspend to false to go on. Memory and nodes stay taken.',
  Vacated: 'Set spec.suspend to false to go on. Nodes were given back.',
  Freezing: 'Wait: ranks are being frozen.',
  Vacating: 'Wait: the group is being saved or ended.',
  Thawing: 'Wait: ranks are being resumed.',
  NotSuspended: 'Nothing to do.',
  Held: 'status.holds names who holds the group and why.',
  // Succeeded and Failed
  AllRanksSucceeded: 'Nothing to do: every rank exited with 0.',
  NotFinished: 'Nothing to do: the group has not ended.',
  Saved:
    'Nothing to do: the group was saved as the Checkpoint asked for and ended; `muster restart` makes one that goes on.',
  NodeDrained:
    'The message names the node; it is being drained with policy Kill, which its administrator chose. Create the group anew.',
  RankFailed: 'Read `muster logs`: the message names the first rank that failed, its exit code and node.',
  RankSignaled: 'Read `muster logs`: the message names the first rank that a signal ended, and its node.',
  StartFailed:
    'Correct the command, workingDir, path or user: the message names the rank, the node and what was missing.',
  SandboxFailed: "See the agent's log on the node named in the message: the sandbox could not be built.",
  NotAllowed:
    "Ask the administrator of the node named in the message, or ask for what its agent's configuration lets ranks have.",
  RestoreFailed:
    'The message says what each node lacks or found; the Checkpoint is kept, and `muster restart` tries again.',
  ImageDamaged:
    'No node has a whole image any more: the message names image and file. Delete the Checkpoint and use an older one.',
  CarrierLost:
    'The Pod that the ranks lived in was deleted, evicted or ended: the message says which, and by what. Create the group anew.',
  NodeLost: "Start the node's agent again or remove the node; then create the group anew.",
  LeaseExpired:
    'See why the node named in the message could not reach a controller for so long; its ranks were killed so that they could be started elsewhere.',
  RestartsExhausted:
    'Look into why it fails: it was started again as often as failurePolicy.maxRestarts lets it.',
  WallTimeExceeded: 'Raise limits.wallTimeSeconds, which may grow while the group runs.',
  CpuTimeExceeded: 'Raise limits.cpuTimeSeconds in a new group.',
  MemoryExceeded: 'Raise limits.memory or resources.limits.memory in a new group, or spread the ranks.',
  ClientGone: 'Use --detach for groups that are to outlive their client.',
  Deleted: 'Nothing to do: a user deleted the group while it ran.',
  Aborted: 'A rank called MPI_Abort: the message has its code and text.',
  // Reconciling and Stalled
  Progressing: 'Wait: the message says for what.',
  Settled: 'Nothing to do.',
  InvalidSpec: 'Correct the fields that the message names; fixed ones need a new object.',
  NotSupported:
    'Remove the fields that the message names, or use a build that has them; nothing was started.',
  NotStalled: 'Nothing to do.',
  // Checkpoint
  Preparing: 'Wait: the cut is being prepared.',
  Dumping: 'Wait: images are being taken.',
  Saving: 'Wait: images are being brought to the storage.',
  Restorable: 'Nothing to do.',
  NotRestorable: 'Wait, or see Failed.',
  Copied: 'Nothing to do: the images survive the loss of any one node.',
  TooFewCopies: 'The images are on one node only: give the storage more copies.',
  ImagesLost: 'Delete the object: the nodes or the storage that held its images are gone.',
  GroupNotRunning: 'Create the checkpoint while the group runs.',
  GroupNotFound: 'Correct processGroupName: no such group in the namespace.',
  DumpFailed: 'The message names node, rank and cause; the group goes on as if nothing had been asked.',
  StorageFull: 'Make room in the storage, or lower checkpointPolicy.keep.',
  DeadlineExceeded: 'Raise deadlineSeconds, or look at what the message says it waited for.',
  PreflightFailed: 'The message names what in the group cannot be saved, and how to avoid it.',
  // Migration
  Moved: 'Nothing to do: the ranks run on the new node.',
  NothingToDo: 'Nothing to do: no rank was on the node.',
  Moving: 'Wait: ranks are being moved.',
  NotWholeSandboxes: 'Correct spec.ranks: the message names the boundaries.',
  NoTarget: 'No node can take the ranks: the message says what each lacks.',
  PagesLost:
    'Memory of the ranks was on a node that is lost: the group goes on as its failurePolicy says, from its last checkpoint if it has one.',
  Following: 'Wait: the ranks run on the new node, and their memory follows.',
  TransferFailed: 'The ranks go on where they were; the message names the cause.',
  // NodeMonitor
  AgentReady: 'Nothing to do.',
  AgentGone: 'Start the agent on the node: its heartbeats ended. Its ranks go on running.',
  AgentStopped: 'Start the agent on the node again: it was stopped there. Its ranks go on running.',
  AgentVersion: 'Install an agent of this version or of the one before it on the node.',
  ChecksPassed: 'Nothing to do.',
  NoChecks: 'Nothing to do: no health check is configured.',
  CheckFailed: 'The message names the check and what it said.',
  DrainRequested: 'Wait: groups are leaving the node.',
  DrainBlocked:
    'The message names what cannot leave and why; it runs on where it is, and is tried again. Help it as it says, or use another policy.',
  Drained: 'The node is empty and can be taken down.',
  NotDraining: 'Nothing to do.',
  OwnerActive: "Nothing to do: the node's owner uses it; groups come back when the owner has gone.",
  OwnerIdle: 'Nothing to do.',
  Pressure: 'The node is short of what the condition names; the message has the figures.',
  NoPressure: 'Nothing to do.',
} as const;

export type Reason = keyof typeof reasons;

export interface ConditionInput {
  type: ConditionType;
  status: Condition['status'];
  reason: Reason;
  message: string;
  observedGeneration?: number;
}

const messageLimit = 32_768;

/**
 * The conditions with this one set. The transition time changes only with the status; when nothing at all
 * changes, the very same array comes back, so that callers can tell by identity that there is nothing to write.
 */
export function setCondition(
  conditions: readonly Condition[] | undefined,
  input: ConditionInput,
  now: Date,
): readonly Condition[] {
  const before = conditions?.find((condition) => condition.type === input.type);
  const message =
    input.message.length > messageLimit ? `${input.message.slice(0, messageLimit - 3)}...` : input.message;
  const unmoved = before?.status === input.status;
  const next: Condition = {
    type: input.type,
    status: input.status,
    ...(input.observedGeneration === undefined ? {} : { observedGeneration: input.observedGeneration }),
    lastTransitionTime: unmoved ? before.lastTransitionTime : timeOf(now),
    reason: input.reason,
    message,
  };
  if (
    conditions &&
    unmoved &&
    before.reason === next.reason &&
    before.message === next.message &&
    before.observedGeneration === next.observedGeneration
  )
    return conditions;
  if (!conditions) return [next];
  return before
    ? conditions.map((condition) => (condition === before ? next : condition))
    : [...conditions, next];
}

export function conditionOf(
  conditions: readonly Condition[] | undefined,
  type: ConditionType,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

export function isTrue(conditions: readonly Condition[] | undefined, type: ConditionType): boolean {
  return conditionOf(conditions, type)?.status === 'True';
}

/** RFC 3339 in whole seconds, as Kubernetes writes times. */
export function timeOf(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z');
}
