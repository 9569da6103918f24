/**
 * What the garbage collector should do about one object, by Kubernetes' rules of ownerReferences and deletion
 * propagation. Pure: it sees the object, its owners and dependents, and answers with a list of steps; the store
 * carries them out as ordinary writes, so every step may be repeated and none needs to be atomic with another.
 */
import type { OwnerReference } from './object-store.ts';
import { foregroundFinalizer, orphanFinalizer, type StoredObject } from './transition.ts';

export type OwnerState =
  | 'present'
  /** In the midst of a foreground deletion: waits for its dependents to go. */
  | 'waiting'
  | 'absent'
  /** Of a kind this store does not keep; nothing can be said about it. */
  | 'unknown';

export type GarbageStep =
  | {
      readonly kind: 'delete';
      readonly object: StoredObject;
      readonly propagation: 'Background' | 'Foreground';
    }
  | { readonly kind: 'drop-owners'; readonly object: StoredObject; readonly uids: readonly string[] }
  | { readonly kind: 'drop-finalizer'; readonly object: StoredObject; readonly finalizer: string };

export interface Surroundings {
  ownerState(object: StoredObject, owner: OwnerReference): OwnerState;
  dependentsOf(uid: string): readonly StoredObject[];
}

/** True if the collector has to look at this object at all. */
export function concernsGarbage(object: StoredObject): boolean {
  const { ownerReferences, deletionTimestamp, finalizers } = object.metadata;
  if ((ownerReferences ?? []).length > 0) return true;
  return (
    deletionTimestamp !== undefined &&
    (finalizers ?? []).some((name) => name === foregroundFinalizer || name === orphanFinalizer)
  );
}

export function garbageStepsOf(object: StoredObject, around: Surroundings): GarbageStep[] {
  const { uid, finalizers = [], deletionTimestamp } = object.metadata;
  if (deletionTimestamp === undefined) return stepsOfLiving(object, around);
  const dependents = around.dependentsOf(uid);
  if (finalizers.includes(orphanFinalizer)) {
    if (dependents.length === 0) return [{ kind: 'drop-finalizer', object, finalizer: orphanFinalizer }];
    return dependents.map((dependent) => ({ kind: 'drop-owners', object: dependent, uids: [uid] }));
  }
  if (finalizers.includes(foregroundFinalizer)) {
    const blocking = dependents.some((dependent) =>
      (dependent.metadata.ownerReferences ?? []).some(
        (owner) => owner.uid === uid && owner.blockOwnerDeletion === true,
      ),
    );
    if (!blocking) return [{ kind: 'drop-finalizer', object, finalizer: foregroundFinalizer }];
  }
  return [];
}

function stepsOfLiving(object: StoredObject, around: Surroundings): GarbageStep[] {
  const owners = object.metadata.ownerReferences ?? [];
  if (owners.length === 0) return [];
  const states = owners.map((owner) => around.ownerState(object, owner));
  const gone = owners.filter((_, index) => states[index] === 'absent' || states[index] === 'waiting');
  if (gone.length === 0) return [];
  if (gone.length < owners.length) {
    return [{ kind: 'drop-owners', object, uids: gone.map((owner) => owner.uid) }];
  }
  const foreground = states.includes('waiting') && around.dependentsOf(object.metadata.uid).length > 0;
  return [{ kind: 'delete', object, propagation: foreground ? 'Foreground' : 'Background' }];
}
