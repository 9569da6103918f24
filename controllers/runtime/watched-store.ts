/**
 * A store that is far away, with what is watched of it read from memory: `get` of a watched kind answers without asking when memory
 * holds the object at least as new as all that was written through here. What was written is never answered older than it was written;
 * what others write is seen as soon as the watch tells it. After a write that failed, after a deletion, and of what memory does not
 * hold, the store itself is asked. Everything else is passed on.
 */
import {
  isStoreError,
  type AnyObject,
  type DeleteOptions,
  type DeleteResult,
  type KubernetesObject,
  type ListOptions,
  type ObjectKey,
  type ObjectList,
  type ObjectStore,
  type Patch,
  type PatchOptions,
  type WatchEvent,
  type WatchOptions,
} from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';
import { keyOf, type Key } from './reconciler.ts';

interface WatchedKind {
  readonly objects: ReadonlyMap<Key, KubernetesObject>;
  /** Versions that memory has yet to reach, of what was written; undefined: not known, ask. */
  readonly written: Map<Key, KubernetesObject | undefined>;
}

export class WatchedStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #kinds = new Map<string, WatchedKind>();
  readonly #authorless: ReadonlySet<ResourceType>;

  /** `authorless`: of these who wrote which field is not kept, which would be half of what memory holds. */
  constructor(store: ObjectStore, authorless: readonly ResourceType[] = []) {
    this.#store = store;
    this.#authorless = new Set(authorless);
  }

  /** Objects of the kind, as somebody watches them. */
  watched(type: ResourceType, objects: ReadonlyMap<Key, KubernetesObject>): void {
    this.#kinds.set(type.plural, { objects, written: new Map() });
  }

  async get<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    signal?: AbortSignal,
  ): Promise<T> {
    const kind = this.#kinds.get(type.plural);
    if (!kind) return this.#store.get<T>(type, key, signal);
    const name = keyIn(type, key);
    const here = kind.objects.get(name);
    if (here && (!kind.written.has(name) || isAsNew(here, kind.written.get(name)))) {
      kind.written.delete(name);
      return here as T;
    }
    const marked = kind.written.get(name);
    try {
      const found = await this.#store.get<T>(type, key, signal);
      // Unless something else was written meanwhile.
      if (kind.written.has(name) && kind.written.get(name) === marked) kind.written.set(name, found);
      return found;
    } catch (error) {
      const isGone = isStoreError(error, 'NotFound') && !kind.objects.has(name);
      if (isGone && kind.written.get(name) === marked) kind.written.delete(name);
      throw error;
    }
  }

  async list<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options?: ListOptions,
    signal?: AbortSignal,
  ): Promise<ObjectList<T>> {
    const list = await this.#store.list<T>(type, options, signal);
    return this.#authorless.has(type) ? { ...list, items: list.items.map(withoutAuthors) } : list;
  }

  async *watch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options?: WatchOptions,
    signal?: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>> {
    const isAuthorless = this.#authorless.has(type);
    for await (const event of this.#store.watch<T>(type, options, signal))
      yield isAuthorless ? { ...event, object: withoutAuthors(event.object) } : event;
  }

  create<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#noted(type, object.metadata, this.#store.create<T>(type, object, signal));
  }

  update<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#noted(type, object.metadata, this.#store.update<T>(type, object, signal));
  }

  updateStatus<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#noted(type, object.metadata, this.#store.updateStatus<T>(type, object, signal));
  }

  patch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    patch: Patch,
    options?: PatchOptions,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#noted(type, key, this.#store.patch<T>(type, key, patch, options, signal));
  }

  async delete<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    options?: DeleteOptions,
    signal?: AbortSignal,
  ): Promise<DeleteResult<T>> {
    const kind = this.#kinds.get(type.plural);
    kind?.written.set(keyIn(type, key), undefined);
    return this.#store.delete<T>(type, key, options, signal);
  }

  /** Whatever becomes of the write: memory may be older, and where it failed nobody knows. */
  async #noted<T extends KubernetesObject>(
    type: ResourceType,
    key: { readonly namespace?: string | undefined; readonly name?: string | undefined },
    writing: Promise<T>,
  ): Promise<T> {
    const written = this.#kinds.get(type.plural)?.written;
    if (!written) return writing;
    const name = keyIn(type, key);
    written.set(name, undefined);
    try {
      const object = await writing;
      const other = written.get(name);
      if (!other || !isAsNew(other, object)) written.set(name, object);
      return object;
    } catch (error) {
      written.set(name, undefined);
      throw error;
    }
  }
}

function keyIn(
  type: ResourceType,
  {
    namespace = 'default',
    name = '',
  }: { readonly namespace?: string | undefined; readonly name?: string | undefined },
): Key {
  return keyOf({ metadata: type.namespaced ? { namespace, name } : { name } });
}

function withoutAuthors<T extends KubernetesObject>(object: T): T {
  const { managedFields: _authors, ...metadata } = object.metadata;
  return Object.freeze({ ...object, metadata: Object.freeze(metadata) });
}

/** Versions of a cluster are numbers that grow; what is none is equal or not. */
function isAsNew({ metadata: here }: KubernetesObject, written: KubernetesObject | undefined): boolean {
  const [now = '', then = ''] = [here.resourceVersion, written?.metadata.resourceVersion];
  if (then === '') return false;
  if (here.uid !== written?.metadata.uid) return false;
  return now === then || (/^\d+$/.test(now) && /^\d+$/.test(then) && BigInt(now) > BigInt(then));
}
