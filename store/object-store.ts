/**
 * The one way controllers, CLI and API server read and write objects. It has the semantics of the Kubernetes API
 * (optimistic concurrency by resourceVersion, generation, finalizers, ownerReferences, watches that resume), and
 * knows no kind by name. The contract is `test/contract/object-store.ts`; every backend passes it.
 *
 * Objects that a store hands out are frozen and shared: copy before changing (`structuredClone` or spread).
 * Every method throws `StoreError`. A write that returns is durable; one that throws left nothing behind, except
 * reason `Unavailable`, where the connection to the store was lost and the outcome is unknown.
 */
import type { ManagedFieldsEntry } from '../crds/objects.ts';
import type { ResourceType } from './resource.ts';

export { StoreError, isStoreError, type StoreReason, type FieldError, type Status } from './store-error.ts';
export type { ManagedFieldsEntry } from '../crds/objects.ts';
export type { ResourceType } from './resource.ts';

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface ObjectMeta {
  name?: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: ManagedFieldsEntry[];
}

/** Any object of the API. Kinds with a spec and a status are typed by the caller: `store.get<ProcessGroup>(...)`. */
export interface KubernetesObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

/** An object as a caller knows it before the store does. */
export interface AnyObject extends KubernetesObject {
  spec?: unknown;
  status?: unknown;
  [field: string]: unknown;
}

/** `namespace` is left out for cluster-scoped kinds; for namespaced ones it defaults to `default`. */
export interface ObjectKey {
  readonly namespace?: string | undefined;
  readonly name: string;
}

export interface ObjectList<T> {
  readonly items: readonly T[];
  /** Where a watch may start so as to miss nothing. */
  readonly resourceVersion: string;
  /** Set when `limit` cut the list; pass it back to read on. The whole is one consistent snapshot, or `Expired`. */
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

export interface SelectOptions {
  /** All namespaces when left out. */
  readonly namespace?: string | undefined;
  /** As kubectl's `-l`: `app=a,tier in (x,y),!canary`. */
  readonly labelSelector?: string | undefined;
  /** `metadata.name=...`, `metadata.namespace=...`, and the fields that the kind is selectable by. */
  readonly fieldSelector?: string | undefined;
}

export interface ListOptions extends SelectOptions {
  readonly limit?: number | undefined;
  readonly continue?: string | undefined;
}

export interface WatchOptions extends SelectOptions {
  /**
   * Events after this version. Left out (or '0'): first one ADDED for every object there is, then what changes.
   */
  readonly resourceVersion?: string | undefined;
  /** Send a BOOKMARK now and then, and one (annotated `k8s.io/initial-events-end`) after the first ADDEDs. */
  readonly bookmarks?: boolean | undefined;
}

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** Its object has only `metadata.resourceVersion` (and annotations). */
  | { readonly type: 'BOOKMARK'; readonly object: T };

export interface Preconditions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface DeleteOptions {
  /** What becomes of the objects it owns; default Background. */
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan' | undefined;
  readonly preconditions?: Preconditions | undefined;
  /** Of kinds that end in their own time, such as Pods; the store's other kinds know none. */
  readonly gracePeriodSeconds?: number | undefined;
  /** Only tell what would become of it. */
  readonly dryRun?: boolean | undefined;
}

/** Either it is gone for good, or finalizers hold it and it has a deletionTimestamp. */
export type DeleteResult<T> =
  { readonly gone: true; readonly uid: string } | { readonly gone: false; readonly object: T };

/**
 * Merge patch is RFC 7386; JSON patch is RFC 6902. A `metadata.resourceVersion` in a merge patch is a precondition. An apply
 * is a part of the object whose fields the manager owns from then on, and all it owns: the object is made when there is none,
 * what others own otherwise is a Conflict unless forced.
 */
export type Patch =
  | { readonly type: 'merge'; readonly patch: unknown }
  | {
      readonly type: 'apply';
      readonly patch: KubernetesObject;
      readonly fieldManager: string;
      readonly force?: boolean;
    }
  | { readonly type: 'json'; readonly patch: readonly JsonPatchOperation[] };

export interface JsonPatchOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'move' | 'copy' | 'test';
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

export interface PatchOptions {
  readonly subresource?: 'status' | undefined;
}

export interface ObjectStore {
  /** Throws NotFound. */
  get<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    signal?: AbortSignal,
  ): Promise<T>;

  /** Sorted by namespace and name. */
  list<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options?: ListOptions,
    signal?: AbortSignal,
  ): Promise<ObjectList<T>>;

  /**
   * Yields events in order, each after it is durable, until `signal` aborts or the caller breaks off (both end it
   * quietly). Throws Expired when the version is too old or the reader too slow: list again, watch from there.
   * Throws Unavailable when the store went away.
   */
  watch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options?: WatchOptions,
    signal?: AbortSignal,
  ): AsyncIterable<WatchEvent<T>>;

  /** Throws AlreadyExists, Invalid. With `generateName` and no name, the store picks a free name. Status is dropped. */
  create<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T>;

  /**
   * Replaces all but the status. With a resourceVersion it must be the current one (Conflict); without, the last
   * writer wins. A change that changes nothing returns the object as it was, at the same resourceVersion.
   */
  update<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T>;

  /** Replaces only the status; anything else in `object` is ignored. */
  updateStatus<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T>;

  patch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    patch: Patch,
    options?: PatchOptions,
    signal?: AbortSignal,
  ): Promise<T>;

  /**
   * An object with finalizers gets a deletionTimestamp and goes when the last finalizer is removed. Throws NotFound;
   * Conflict if a precondition fails.
   */
  delete<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    options?: DeleteOptions,
    signal?: AbortSignal,
  ): Promise<DeleteResult<T>>;
}
