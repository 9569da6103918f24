/**
 * Keeps the Namespaces of a store of Muster's own: there is one for every object that is in one, whoever made it; a deleted
 * one is emptied first, kind by kind, and goes when nothing is left in it. It always judges what is stored now, so after a
 * restart it simply goes on.
 */
import {
  isStoreError,
  type AnyObject,
  type KubernetesObject,
  type ObjectStore,
  type WatchEvent,
} from './object-store.ts';
import { builtinTypes, type ResourceType } from './resource.ts';

export const namespaceFinalizer = 'kubernetes';

const type: ResourceType = builtinTypes.namespace;
const retryAfterMs = 1000;

export interface NamespaceLifecycleOptions {
  readonly store: ObjectStore;
  readonly types: readonly ResourceType[];
  readonly log: { warn(facts: object, message: string): void };
}

export class NamespaceLifecycle {
  readonly #options: NamespaceLifecycleOptions;
  readonly #signal: AbortSignal;
  /** The namespaces there are, as far as we have heard. */
  readonly #known = new Set<string>();
  readonly #emptying = new Set<string>();

  constructor(options: NamespaceLifecycleOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  /** Makes what is missing; afterwards `run` keeps it so. */
  async begin(): Promise<void> {
    const { store } = this.#options;
    const { items } = await store.list(type);
    for (const { metadata } of items) this.#known.add(metadata.name!);
    await this.#ensure('default');
    for (const one of this.#namespacedTypes()) {
      const { items: objects } = await store.list(one);
      for (const { metadata } of objects) await this.#ensure(metadata.namespace ?? 'default');
    }
  }

  /** Until the signal aborts. */
  async run(): Promise<void> {
    await Promise.all([
      this.#follow(type, (event) => this.#namespaceChanged(event)),
      ...this.#namespacedTypes().map((one) =>
        this.#follow(one, ({ type: what, object }) => {
          const { namespace } = object.metadata;
          if (what === 'ADDED' && namespace !== undefined && !this.#known.has(namespace))
            this.#inBackground(() => this.#ensure(namespace));
        }),
      ),
    ]);
  }

  #namespacedTypes(): readonly ResourceType[] {
    return this.#options.types.filter((one) => one.namespaced);
  }

  async #follow(one: ResourceType, changed: (event: WatchEvent<AnyObject>) => void): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        for await (const event of this.#options.store.watch(one, {}, this.#signal)) changed(event);
      } catch (error) {
        if (this.#signal.aborted) return;
        if (!isStoreError(error, 'Expired')) {
          this.#options.log.warn({ err: error, kind: one.kind }, 'watching for namespaces broke off');
          await pause(retryAfterMs, this.#signal);
        }
      }
    }
  }

  #namespaceChanged({ type: what, object }: WatchEvent<AnyObject>): void {
    const { name = '', deletionTimestamp, finalizers = [] } = object.metadata;
    if (what === 'BOOKMARK') return;
    if (what === 'DELETED') {
      this.#known.delete(name);
      return;
    }
    this.#known.add(name);
    if (deletionTimestamp !== undefined) {
      if (!this.#emptying.has(name)) this.#inBackground(() => this.#empty(name));
    } else if (!finalizers.includes(namespaceFinalizer)) {
      this.#inBackground(() => this.#setFinalizers(object, [...finalizers, namespaceFinalizer]));
    }
  }

  /** Work that is tried again until it is done; NotFound and Conflict mean that there is news, which comes by itself. */
  #inBackground(work: () => Promise<void>): void {
    const attempt = async (): Promise<void> => {
      while (!this.#signal.aborted) {
        try {
          return await work();
        } catch (error) {
          if (this.#signal.aborted || isStoreError(error, 'NotFound', 'Conflict', 'Invalid')) return;
          this.#options.log.warn({ err: error }, 'a namespace could not be kept; will try again');
          await pause(retryAfterMs, this.#signal);
        }
      }
    };
    void attempt();
  }

  async #ensure(name: string): Promise<void> {
    if (this.#known.has(name)) return;
    this.#known.add(name);
    const metadata = { name, finalizers: [namespaceFinalizer] };
    try {
      await this.#options.store.create(type, { apiVersion: 'v1', kind: 'Namespace', metadata }, this.#signal);
    } catch (error) {
      if (isStoreError(error, 'AlreadyExists')) return;
      this.#known.delete(name);
      throw error;
    }
  }

  async #empty(name: string): Promise<void> {
    this.#emptying.add(name);
    try {
      const { store } = this.#options;
      await store.updateStatus(type, await store.get(type, { name }));
      // Once more when all are empty, for what came into an emptied kind meanwhile.
      for (let left = 1; left > 0;) {
        left = 0;
        for (const one of this.#namespacedTypes()) left += await this.#emptyOf(one, name);
      }
      const namespace = await store.get(type, { name });
      const finalizers = (namespace.metadata.finalizers ?? []).filter(
        (other) => other !== namespaceFinalizer,
      );
      await this.#setFinalizers(namespace, finalizers);
    } finally {
      this.#emptying.delete(name);
    }
  }

  /** Deletes all of one kind and waits until they are gone; tells how many there were. */
  async #emptyOf(one: ResourceType, namespace: string): Promise<number> {
    const { store } = this.#options;
    const { items, resourceVersion } = await store.list(one, { namespace });
    const left = new Set(items.map(({ metadata }) => metadata.uid));
    for (const { metadata } of items) {
      await store
        .delete(one, { namespace, name: metadata.name! }, { preconditions: { uid: metadata.uid } })
        .catch((error: unknown) => {
          if (!isStoreError(error, 'NotFound', 'Conflict')) throw error;
        });
    }
    if (left.size === 0) return 0;
    for await (const { type: what, object } of store.watch(
      one,
      { namespace, resourceVersion },
      this.#signal,
    )) {
      if (what === 'DELETED') left.delete(object.metadata.uid);
      if (left.size === 0) break;
    }
    this.#signal.throwIfAborted();
    return items.length;
  }

  async #setFinalizers(namespace: KubernetesObject, finalizers: readonly string[]): Promise<void> {
    const { name = '', resourceVersion } = namespace.metadata;
    const patch = { metadata: { resourceVersion, finalizers } };
    await this.#options.store.patch(type, { name }, { type: 'merge', patch });
  }
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, delayMs);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
