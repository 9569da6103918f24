/**
 * The Checkpoint controller of a build without checkpoints: says so, and touches no group.
 */
import type { ObjectStore } from '../../store/object-store.ts';
import { checkpointType } from '../resource-types.ts';
import type { Clock } from '../runtime/clock.ts';
import { NotSupportedReconciler } from '../runtime/not-supported.ts';

export function checkpointReconciler(store: ObjectStore, clock: Clock): NotSupportedReconciler {
  const message =
    'Checkpoint is not supported by this build; the group goes on untouched, delete this object';
  return new NotSupportedReconciler({ name: 'checkpoint', type: checkpointType, message, store, clock });
}
