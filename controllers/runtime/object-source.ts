/**
 * Keeps a copy of all objects of one kind by list and watch, and tells of every key that changed. It outlives the
 * store's hiccups: an expired or broken watch is listed anew, and what changed in between is told then. It never
 * dies in silence and never tells an event, only that a key is worth a look.
 */
import type { Logger } from 'pino';
import {
  isStoreError,
  type KubernetesObject,
  type ObjectStore,
  type ResourceType,
} from '../../store/object-store.ts';
import { backoffMs, watchBackoff } from './backoff.ts';
import type { Clock } from './clock.ts';
import { keyOf, type Key } from './reconciler.ts';

const notServed =
  'the API server does not serve the kind: install its CustomResourceDefinition (kubectl apply -f crds)';

export interface ObjectSourceOptions<T> {
  readonly store: ObjectStore;
  readonly type: ResourceType;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Only objects with these; what loses them counts as gone. */
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** `after` is undefined when the object is gone; `before` when it is new. */
  readonly changed: (key: Key, after: T | undefined, before: T | undefined) => void;
}

export class ObjectSource<T extends KubernetesObject> {
  readonly #options: ObjectSourceOptions<T>;
  readonly #objects = new Map<Key, T>();
  readonly #listed = Promise.withResolvers<void>();

  constructor(options: ObjectSourceOptions<T>) {
    this.#options = options;
  }

  get objects(): ReadonlyMap<Key, T> {
    return this.#objects;
  }

  /** Settles when the first list has been told in full. */
  get listed(): Promise<void> {
    return this.#listed.promise;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger, type } = this.#options;
    let told = '';
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#listAndWatch(signal, () => {
          failures = 0;
          told = '';
        });
      } catch (error) {
        if (signal.aborted) return;
        if (isStoreError(error, 'Expired')) continue;
        failures += 1;
        const delayMs = backoffMs(watchBackoff, failures, Math.random());
        // As long as it is the same, once is enough.
        const text = error instanceof Error ? error.message : String(error);
        if (text !== told) {
          if (isStoreError(error, 'NotFound')) logger.error({ err: error, kind: type.kind }, notServed);
          else logger.warn({ err: error, kind: type.kind, delayMs }, 'watch broke; will list again');
        }
        told = text;
        await pause(clock, delayMs, signal);
      }
    }
  }

  async #listAndWatch(signal: AbortSignal, succeeded: () => void): Promise<void> {
    const { store, type, labelSelector, fieldSelector } = this.#options;
    const selection = { labelSelector, fieldSelector };
    const list = await store.list<T>(type, selection, signal);
    const present = new Set(list.items.map(keyOf));
    for (const key of [...this.#objects.keys()]) if (!present.has(key)) this.#set(key, undefined);
    for (const object of list.items) this.#set(keyOf(object), object);
    this.#listed.resolve();
    succeeded();
    const watch = store.watch<T>(type, { ...selection, resourceVersion: list.resourceVersion }, signal);
    for await (const event of watch) {
      if (event.type === 'BOOKMARK') continue;
      this.#set(keyOf(event.object), event.type === 'DELETED' ? undefined : event.object);
    }
  }

  #set(key: Key, after: T | undefined): void {
    const before = this.#objects.get(key);
    if (before && after && before.metadata.uid === after.metadata.uid) {
      if (before.metadata.resourceVersion === after.metadata.resourceVersion) return;
    }
    if (after) this.#objects.set(key, after);
    else this.#objects.delete(key);
    this.#options.changed(key, after, before);
  }
}

export async function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  using _timer = clock.after(delayMs, resolve);
  signal.addEventListener('abort', () => resolve(), { once: true });
  await promise;
}
