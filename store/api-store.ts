/**
 * What the API server needs of a store beyond ObjectStore: one write decided by the caller on the newest state, so that the
 * rules of HTTP requests (field managers, apply, dry runs) are functions beside the store and not options of its methods.
 */
import type { ObjectKey, ObjectStore } from './object-store.ts';
import type { ResourceType } from './resource.ts';
import type { Admit, Birth, Change, StoredObject } from './transition.ts';

export interface WriteRules {
  readonly admit: Admit | undefined;
  readonly nowMs: number;
}

/** What becomes of an object, or of there being none. Pure, and may be asked twice. */
export type Decision = (head: StoredObject | undefined, rules: WriteRules) => Change;

export interface ApiStore extends ObjectStore {
  /** Carries out what `decide` says, durably, unless it is a dry run; what it throws is thrown. */
  change(
    type: ResourceType,
    key: ObjectKey,
    decide: Decision,
    options?: { readonly dryRun?: boolean | undefined },
  ): Promise<Change>;

  /** Resolves when what was decided before is durable, where somebody may have heard of it earlier. */
  settled?(): Promise<void>;

  /** Identity and time of a new object. */
  birth(): Birth;
}
