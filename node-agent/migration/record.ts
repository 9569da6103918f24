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
  /** When it was frozen, by the clock that nobody sets and that a new agent goes on with; 0: not yet. */
  readonly frozenSteadyUs: number;
  /** The node that it goes to. */
  readonly target: string;
  /** What is to become of connections that leave the group. */
  readonly externalConnections: string;
  /** Its memory is read where it left, once it runs elsewhere. */
  readonly pagesFollow: boolean;
  /** Most of its memory goes before it stands still. */
  readonly pagesAhead?: boolean;
}

export interface ComingRecord extends Moving {
  readonly state: ComerState;
  /** How long it had stood still when all of it was here, and when that was, by the clock that nobody sets. */
  readonly arrived?: { readonly stillUs: number; readonly steadyUs: number };
  /** Some of its memory is still where it left. */
  readonly pagesFollow: boolean;
  /** All of its memory is in the image, and some of it with no process yet. */
  readonly pagesHere?: boolean;
}

export const nothingMoved = {
  reason: '',
  message: '',
  frozenNs: 0,
  thawedNs: 0,
  bytes: 0,
  engineUs: 0,
  stillUs: 0,
  pagesLeftBytes: 0,
  dirtyBytesPerSecond: 0,
} as const;

export function factOfRecord({
  migrationUid, state, reason, message, frozenNs, thawedNs, bytes, engineUs, stillUs, pagesLeftBytes,
  dirtyBytesPerSecond = 0,
}: Moving): MoveFact {
  return { migrationUid, state, reason, message, frozenNs, thawedNs, bytes, engineUs, stillUs, pagesLeftBytes, dirtyBytesPerSecond };
} // prettier-ignore

/** The order is for the node that the sandbox comes to. */
export function isComers(order: MoveOrder | null, id: SandboxId): boolean {
  return order !== null && order.step !== 'Stay' && order.incarnation < id.incarnation;
}

/** Names that ranks have published (MPI_Publish_name): a file of the sandbox's directory. */
export const namesFileName = 'names';

/** Where a file of a sandbox on its way is: the log is the sandbox's own, all else is of the image. */
export function travelPath(
  name: string,
  { path, logs }: { readonly path: string; readonly logs: string },
  imagePathOf: (name: string) => string,
): string {
  if (name === namesFileName) return `${path}/${name}`;
  return name.startsWith('log.') ? `${logs}/${name.slice('log.'.length)}` : imagePathOf(name);
}
