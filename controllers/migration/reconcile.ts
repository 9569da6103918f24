/**
 * The Migration controller of a build without migration: says so, and moves nothing.
 */
import type { ObjectStore } from '../../store/object-store.ts';
import { migrationType } from '../resource-types.ts';
import type { Clock } from '../runtime/clock.ts';
import { NotSupportedReconciler } from '../runtime/not-supported.ts';

export function migrationReconciler(store: ObjectStore, clock: Clock): NotSupportedReconciler {
  const message =
    'Migration is not supported by this build; the ranks stay where they are, delete this object';
  return new NotSupportedReconciler({ name: 'migration', type: migrationType, message, store, clock });
}
