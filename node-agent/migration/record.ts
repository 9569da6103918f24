// How far a sandbox is with its move, as it stands on disk before anybody is told: of the node that it leaves, and of the one that
// it comes to. Plain data.
import type { MoveFact, MoveOrder, SandboxId } from '../../wire/agent-types.ts';
import type { ComerState, LeaverState } from '../../wire/migration-protocol.ts';

interface Moving extends MoveFact {
  /** NAMESPACE/NAME of the migration. */
  readonly name: string;
}

export interface LeavingRecord extends Moving {
  readonly state: LeaverState;
  /** The node that it goes to. */
  readonly target: string;
  /** What is to become of connections that leave the group. */
  readonly externalConnections: string;
}

export interface ComingRecord extends Moving {
  readonly state: ComerState;
}

export const nothingMoved = {
  reason: '',
  message: '',
  frozenNs: 0,
  thawedNs: 0,
  bytes: 0,
  engineUs: 0,
  workUs: 0,
} as const;

export function factOfRecord({
  migrationUid, state, reason, message, frozenNs, thawedNs, bytes, engineUs, workUs,
}: Moving): MoveFact {
  return { migrationUid, state, reason, message, frozenNs, thawedNs, bytes, engineUs, workUs };
} // prettier-ignore

/** The order is for the node that the sandbox comes to. */
export function isComers(order: MoveOrder | null, id: SandboxId): boolean {
  return order !== null && order.step !== 'Stay' && order.incarnation < id.incarnation;
}

/** Names that ranks have published (MPI_Publish_name): a file of the sandbox's directory. */
export const namesFileName = 'names';
