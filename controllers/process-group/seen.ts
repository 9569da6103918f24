/**
 * One frozen snapshot of a ProcessGroup: its object, what agents say of its sandboxes, and the time. Phase, plan and
 * status are functions of it and of nothing else.
 */
import type { DrainSeen } from './drain.ts';
import type { RestoreSeen } from './restore.ts';
import type { Retry } from './restore-retry.ts';
import type { Standing } from '../hub/node-table.ts';
import type { Want } from '../hub/desired-book.ts';
import type { KnownFact, Loss } from '../hub/fact-table.ts';
import type { NetworkClaim } from '../network/pool.ts';
import type { Gang } from '../carrier/gang.ts';
import type { CarrierView } from '../carrier/view.ts';
import type { Placing } from '../placement/place.ts';
import type { Assignment } from '../placement/placement-status.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';

/** Whether a sandbox is over, and what can be said of it. */
export type SandboxState =
  /** Its agent has not said anything of it yet. */
  | 'Waiting'
  | 'Live'
  /** All its ranks have ended, and its agent has told how. */
  | 'Over'
  /** Its agent is back without it. */
  | 'Lost';

export interface SandboxView extends Assignment {
  readonly standing: Standing;
  readonly state: SandboxState;
  readonly known: KnownFact | undefined;
  readonly loss: Loss | undefined;
  /** For a group that is being deleted: its agent holds nothing of it any more. */
  readonly forgotten: boolean;
  /** Since it last may have been granted its lease; undefined: it needs none. */
  readonly leaseSilentMs?: number | undefined;
  /** What its agent is told of it, or would be. */
  readonly want?: Want | undefined;
  /** The Pod that it lives in is gone, or is going, and why. */
  readonly carrierLoss?: string | undefined;
  /** It has been deleted, and runs until its grace period is over. */
  readonly carrierLeaves?: boolean;
}

/** Of a group with a template. */
export interface CarriersSeen {
  readonly views: readonly CarrierView[];
  /** Only while the group waits for a place. */
  readonly gang: Gang | undefined;
}

export interface EndRequest {
  readonly kill: boolean;
  readonly reason: string;
  readonly message: string;
}

export interface Seen {
  readonly nowMs: number;
  readonly group: ProcessGroup;
  readonly sandboxes: readonly SandboxView[];
  /** In force for the group; of one that has no placement yet, as it would be with this one. */
  readonly network: 'Isolated' | 'Host';
  /** Under which lease its ranks run, or would with this placement, in seconds; undefined: under none. */
  readonly nodeLeaseSeconds?: number | undefined;
  /** What it has taken of the cluster's networks. */
  readonly networkClaim: NetworkClaim | undefined;
  /** Of networks that are taken now. */
  readonly networkEncryption?: 'WireGuard' | undefined;
  readonly networkFamilies?: 'IPv4' | 'DualStack' | undefined;
  readonly carriers: CarriersSeen | undefined;
  /** Only looked for while the group has no placement. */
  readonly placing: Placing | undefined;
  readonly invalid: readonly string[];
  readonly unsupported: readonly string[];
  /** Until a foreground group's client counts as gone; undefined for detached groups. */
  readonly clientLeaseLeftMs: number | undefined;
  readonly endRequest: EndRequest | undefined;
  /** The checkpoint that the group goes on from, of one that does. */
  readonly restore: RestoreSeen | undefined;
  /** Some of it could not be brought back. */
  readonly retry?: Retry | undefined;
  /** The latest that can be restored. */
  readonly lastCheckpoint: Checkpoint | undefined;
  /** Where a group goes back to that loses a node, by its policy; undefined: to its beginning. */
  readonly fallback?: Checkpoint | undefined;
  /** Those that the group's own policy made, oldest first. */
  readonly policyCheckpoints: readonly Checkpoint[];
  /** The checkpoint that the suspension of this run of the group takes, or took. */
  readonly saving: Checkpoint | undefined;
  /** What drains of its nodes ask of it. */
  readonly drain?: DrainSeen | undefined;
  /** The one that is taken before the wall time of this run ends. */
  readonly final?: Checkpoint | undefined;
  /** Since the group was struck from the desired book; undefined while it stands there. */
  readonly removedForMs: number | undefined;
}

/** State of a sandbox from what is known of it; `hasRun` when it is on record that it was once started. */
export function sandboxStateOf(
  standing: Standing,
  known: KnownFact | undefined,
  loss: Loss | undefined,
  hasRun: boolean,
): SandboxState {
  if (known?.fact.state === 'Ended' || known?.fact.state === 'Failed') return 'Over';
  if (loss) return 'Lost';
  if (known) return 'Live';
  return standing === 'Connected' && hasRun ? 'Lost' : 'Waiting';
}
