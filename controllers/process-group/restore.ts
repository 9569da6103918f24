/**
 * How a group goes on from a checkpoint: one that was suspended with it, or a new one that is made from it. What the group does not say
 * itself comes from the checkpoint's copy of the spec, and what ranks are (programs, user, mounts) from the images alone. Pure.
 */
import { annotations } from '../../crds/names.ts';
import type { Checkpoint, ProcessGroup, ProcessGroupSpec } from '../../crds/types.gen.ts';
import type { RestoreOrder, Sent } from '../../wire/agent-types.ts';
import type { PlacedImage } from '../checkpoint/copies.ts';
import { isStartedAnew, unableBecause } from '../checkpoint/candidates.ts';
import { isRestorable } from '../checkpoint/saves.ts';
import type { NodeState } from '../hub/node-table.ts';
import { placeRestored } from '../placement/place-restored.ts';
import type { NodeOffer, Placing } from '../placement/place.ts';
import { expandPlacement, type Assignment } from '../placement/placement-status.ts';
import { keyOf, type Key } from '../runtime/reconciler.ts';
import { recordedFailures, type RestoreFailure } from './restore-retry.ts';

export interface RestoreSeen {
  readonly name: string;
  /** The very object that is meant; undefined when it is gone. */
  readonly checkpoint: Checkpoint | undefined;
  readonly images: readonly PlacedImage[] | undefined;
}

/** The name of the checkpoint that the group goes on from when it is placed next; undefined: it begins at its beginning. */
export function restoreNameOf({ spec, status }: ProcessGroup): string | undefined {
  return status?.restore?.checkpointName ?? spec.restoreFrom?.checkpointName;
}

/** What a checkpoint's ranks are stays as it was. */
const fixed = [
  'size', 'processes', 'pmi', 'stdio', 'tty', 'environment', 'securityContext', 'rlimits', 'resources', 'root', 'network',
  'egress', 'externalConnections',
] as const satisfies (keyof ProcessGroupSpec)[]; // prettier-ignore

/** The group as it would stand there if its user had written all of it. */
export function restoredGroup(group: ProcessGroup, checkpoint: Checkpoint | undefined): ProcessGroup {
  const text = checkpoint?.status?.processGroupSpec;
  if (group.spec.restoreFrom === undefined || text === undefined) return group;
  const saved = JSON.parse(text) as ProcessGroupSpec;
  const { restoreFrom: _restoreFrom, ...own } = group.spec;
  const kept = Object.fromEntries(fixed.flatMap((name) => (name in saved ? [[name, saved[name]]] : [])));
  const others = Object.fromEntries(
    Object.entries(own).filter(([name]) => !(fixed as readonly string[]).includes(name)),
  );
  const template = saved.template === undefined ? {} : { template: own.template ?? saved.template };
  return { ...group, spec: { ...template, ...others, ...kept } };
}

/** The same, of checkpoints that are at hand. */
export function wholeGroup(group: ProcessGroup, checkpoints: ReadonlyMap<Key, Checkpoint>): ProcessGroup {
  const { namespace = 'default' } = group.metadata;
  const name = restoreNameOf(group);
  const from = name === undefined ? undefined : checkpoints.get(keyOf({ metadata: { namespace, name } }));
  return restoredGroup(group, from);
}

/** The root that ranks had is in the image as it was: of a Pod, or of a node. */
function rootTrouble(group: ProcessGroup, { status }: Checkpoint): string | undefined {
  const text = status?.processGroupSpec;
  if (text === undefined || group.spec.template === undefined) return undefined;
  return (JSON.parse(text) as ProcessGroupSpec).template === undefined
    ? "its ranks were on the nodes' own root, and are not brought back in carrier Pods: leave template out"
    : undefined;
}

/** Whoever restores memory reads it: only whose it is may. */
function ownerTrouble(group: ProcessGroup, { status }: Checkpoint): string | undefined {
  const { name } = annotations.submittedBy;
  const own = group.metadata.annotations?.[name];
  if (status?.processGroupUid === group.metadata.uid || own === status?.owner || own === 'root')
    return undefined;
  return `it is of a group of ${status?.owner ?? 'another user'}, this one is ${own ?? 'nobody'}'s`;
}

/** What a restore needs is there: the sandboxes, and which node can take which. */
export interface Restorable {
  readonly kind: 'restorable';
  readonly sandboxes: readonly Assignment[];
  readonly imageOn: (ordinal: number) => readonly string[];
  readonly trouble: (node: string, ordinal: number) => string | undefined;
}

export function restorableOf(
  group: ProcessGroup,
  { name, checkpoint, images }: RestoreSeen,
  nodeOf: (node: string) => NodeState | undefined,
  newFailures: readonly RestoreFailure[] = [],
): Restorable | Extract<Placing, { kind: 'waiting' }> {
  const wait = (message: string): Extract<Placing, { kind: 'waiting' }> => ({
    kind: 'waiting',
    reason: 'CheckpointNotReady',
    message: `Checkpoint ${name}: ${message}`,
  });
  if (!checkpoint) return wait('there is none in the namespace (any more)');
  const notOwner = ownerTrouble(group, checkpoint);
  if (notOwner !== undefined) return wait(notOwner);
  const otherRoot = rootTrouble(group, checkpoint);
  if (otherRoot !== undefined) return wait(otherRoot);
  const placement = checkpoint.status?.placement;
  if (!isRestorable(checkpoint) || !placement) {
    const ready = checkpoint.status?.conditions?.find(({ type }) => type === 'Ready');
    return wait(ready?.message ?? 'it is not restorable yet');
  }
  const absent = images?.find(({ connected }) => connected === 0);
  if (!images || absent)
    return wait(`nodes that hold its images are not there${absent ? `: ${absent.nodes.join(', ')}` : ''}`);
  const byOrdinal = new Map(images.map((image) => [image.ordinal, image]));
  const failures = [...recordedFailures(group), ...newFailures];
  const tried = (node: string, ordinal: number): string | undefined => {
    const failure = failures.find((each) => each.node === node && each.ordinal === ordinal);
    return failure && `could not bring it back: ${failure.message}`;
  };
  return {
    kind: 'restorable',
    sandboxes: expandPlacement(placement),
    imageOn: (ordinal) => byOrdinal.get(ordinal)?.nodes ?? [],
    trouble: (node, ordinal) =>
      tried(node, ordinal) ??
      (isStartedAnew(checkpoint.status?.engine)
        ? undefined
        : unableBecause(nodeOf(node), nodeOf(byOrdinal.get(ordinal)?.nodes[0] ?? ''))),
  };
}

export function placingOfRestore(
  group: ProcessGroup,
  restore: RestoreSeen,
  offers: readonly NodeOffer[],
  nodeOf: (node: string) => NodeState | undefined,
  newFailures: readonly RestoreFailure[] = [],
): Placing {
  const found = restorableOf(group, restore, nodeOf, newFailures);
  if (found.kind === 'waiting') return found;
  const { sandboxes, imageOn, trouble } = found;
  return placeRestored({ sandboxes, placement: group.spec.placement ?? {}, imageOn, trouble }, offers);
}

/** What the agent of a sandbox is told; who has its image is filled in when it is told. */
export function restoreOrderOf(group: ProcessGroup, ordinal: number): Sent<RestoreOrder> | undefined {
  const { restore } = group.status ?? {};
  if (!restore) return undefined;
  return {
    image: { checkpointUid: restore.checkpointUid, ordinal },
    digest: restore.manifestDigest,
    openFiles: group.spec.checkpointPolicy?.openFiles ?? 'Truncate',
    checkpoint: `${group.metadata.namespace ?? 'default'}/${restore.checkpointName}`,
  };
}
