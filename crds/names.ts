// Every label, annotation, finalizer and field manager that Muster puts on objects: who writes it and who
// reads it. One writer a name. Plain data without imports; the reference prints this table.
import { group } from './objects.ts';

export interface Name {
  readonly name: string;
  readonly on: string;
  readonly writer: string;
  readonly reader: string;
  readonly meaning: string;
}

function name(short: string, on: string, writer: string, reader: string, meaning: string): Name {
  return { name: `${group}/${short}`, on, writer, reader, meaning };
}

export const labels = {
  group: name(
    'group',
    'Checkpoints made by policy, carrier Pods',
    'ProcessGroup controller',
    'users, controllers',
    'Name of the ProcessGroup that the object belongs to.',
  ),
  groupUid: name(
    'group-uid',
    'Checkpoints made by policy, carrier Pods',
    'ProcessGroup controller',
    'controllers',
    'Its UID, since names come back.',
  ),
  ordinal: name(
    'ordinal',
    'carrier Pods',
    'ProcessGroup controller',
    'agents',
    'Ordinal of the sandbox that the Pod carries.',
  ),
  incarnation: name(
    'incarnation',
    'carrier Pods',
    'ProcessGroup controller',
    'agents',
    'Incarnation of that sandbox.',
  ),
  migrationUid: name(
    'migration-uid',
    'carrier Pods',
    'Migration controller',
    'Migration controller',
    'UID of the Migration that the Pod was made for.',
  ),
  node: name(
    'node',
    'NodeMonitors',
    'hub',
    'users, selectors',
    'Name of the node, so that nodeSelector can name one node.',
  ),
  madeBy: name(
    'made-by',
    'Checkpoints and Migrations',
    'who made them: a policy or a drain',
    'keep and budgets, which remove only what a policy made',
    'Policy or Drain; absent on what users made.',
  ),
  manifests: name(
    'manifests',
    'objects from a manifests directory',
    'file store',
    'file store',
    'Marks what the directory made, and so may remove.',
  ),
} as const satisfies Record<string, Name>;

export const annotations = {
  clientLease: name(
    'client-lease',
    'foreground ProcessGroups',
    'API server, at creation and on detaching',
    'ProcessGroup controller',
    'Identity of the client that the group ends with, when it has been gone for clientLeaseSeconds. Absent, the group is detached.',
  ),
  submittedBy: name(
    'submitted-by',
    'ProcessGroups',
    'API server, at creation',
    'ProcessGroup controller, authorisation',
    'Authenticated user who created the group; cannot be set or changed by clients.',
  ),
  submittedUid: name(
    'submitted-uid',
    'ProcessGroups',
    'API server, at creation',
    'ProcessGroup controller',
    'Numeric user and group id that this user is mapped to, as UID:GID.',
  ),
  environmentSecret: name(
    'environment-secret',
    'ProcessGroups',
    'API server, at creation',
    'hub',
    "Name of the private record that holds the caller's environment, which is kept out of the object.",
  ),
  end: name(
    'end',
    'ProcessGroups',
    'API server, on the word of a user: Ctrl-C of muster run, muster kill; NodeMonitor controller, of a drain with policy Kill',
    'ProcessGroup controller',
    'End, Drain: the group is to end, with its grace period. Kill: at once. Never taken back.',
  ),
  submission: name(
    'submission',
    'ProcessGroups of muster run',
    'API server, at creation',
    'API server',
    'Hash of the key of the request, by which a client that asks again finds what it has made already.',
  ),
  hubAddress: name(
    'hub-address',
    "the controllers' Lease",
    'the leading controller',
    'controllers that do not lead',
    'Where agents reach the leader, HOST:PORT.',
  ),
  joinAddress: name(
    'join-address',
    "the controllers' Lease",
    'the leading controller',
    'muster token create',
    'Where nodes join, HOST:PORT.',
  ),
  verbsAddress: name(
    'verbs-address',
    "the controllers' Lease",
    'the leading controller',
    'controllers that do not lead',
    'Where the leader serves the verbs of the aggregated API, HOST:PORT.',
  ),
  rotateAuthority: name(
    'rotate-authority',
    'the Secret muster-authority',
    'administrators',
    'controllers',
    'Time, RFC 3339, at which another authority was asked for: one that is older is replaced, with overlap.',
  ),
  kubernetesNode: name(
    'kubernetes-node',
    'NodeMonitors',
    'NodeMonitor controller',
    'NodeMonitor controller',
    'UID of the Kubernetes Node that it follows; once that is deleted, so is the NodeMonitor, when nothing is left there.',
  ),
  lastCheckpoint: name(
    'last-checkpoint',
    'ProcessGroups',
    'ProcessGroup controller',
    'schedulers that choose victims',
    'Time of the latest restorable checkpoint, RFC 3339.',
  ),
  orphanedImages: name(
    'orphaned-images',
    'NodeMonitors',
    'Checkpoint controller',
    'NodeMonitor controller',
    'UIDs of Checkpoints that were deleted while the node was lost: what it still has of their images goes when it is back.',
  ),
  manifestFile: name(
    'manifest-file',
    'objects from a manifests directory',
    'file store',
    'users',
    'File that the object comes from.',
  ),
} as const satisfies Record<string, Name>;

export const finalizers = {
  ranks: name(
    'ranks',
    'ProcessGroups',
    'ProcessGroup controller',
    'ProcessGroup controller',
    'Held until no rank of the group is left on any node.',
  ),
  images: name(
    'images',
    'Checkpoints with deletionPolicy Delete',
    'Checkpoint controller',
    'Checkpoint controller',
    'Held until the images are deleted.',
  ),
  restore: name(
    'restore',
    'Checkpoints',
    'ProcessGroup controller',
    'Checkpoint controller',
    'Held while a restore reads the images.',
  ),
  checkpoint: name(
    'checkpoint',
    'unfinished Checkpoints',
    'Checkpoint controller',
    'Checkpoint controller',
    'Held until an unfinished attempt is aborted and the group thawed.',
  ),
  migration: name(
    'migration',
    'unfinished Migrations',
    'Migration controller',
    'Migration controller',
    'Held until an unfinished move is aborted.',
  ),
} as const satisfies Record<string, Name>;

/** A foreground group ends when its client has been gone for so long. */
export const clientLeaseSeconds = 30;

/** The value of spec.managedBy that means this project; also what its absence means. */
export const ownController = `${group}/processgroup-controller`;
