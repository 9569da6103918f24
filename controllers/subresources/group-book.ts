/**
 * All ProcessGroups as the store last showed them, by uid, with those who wait for a change: one watch for any number of
 * clients. It judges nothing.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import { processGroupType } from '../resource-types.ts';

export type GroupListener = (group: ProcessGroup | undefined) => void;

export class GroupBook {
  readonly #groups = new Map<string, ProcessGroup>();
  readonly #listeners = new Map<string, Set<GroupListener>>();
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  get(uid: string): ProcessGroup | undefined {
    return this.#groups.get(uid);
  }

  all(): Iterable<ProcessGroup> {
    return this.#groups.values();
  }

  /** Calls back at every change of the group, with undefined when it is gone. */
  listen(uid: string, listener: GroupListener): Disposable {
    const set = this.#listeners.get(uid) ?? new Set();
    this.#listeners.set(uid, set.add(listener));
    return {
      [Symbol.dispose]: () => {
        set.delete(listener);
        if (set.size === 0) this.#listeners.delete(uid);
      },
    };
  }

  /** What is about to become of a group, for those who listen to it alone: it is decided, and on its way to the disk. */
  foretell(group: ProcessGroup): void {
    for (const listener of [...(this.#listeners.get(group.metadata.uid ?? '') ?? [])]) listener(group);
  }

  /** Follows the store until the signal aborts; resolves `ready` once all that was there is known. */
  async follow(ready: () => void, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const { items, resourceVersion } = await this.#store.list<ProcessGroup>(processGroupType, {}, signal);
        const present = new Set(items.map((item) => item.metadata.uid ?? ''));
        for (const uid of [...this.#groups.keys()]) if (!present.has(uid)) this.#change(uid, undefined);
        for (const item of items) this.#change(item.metadata.uid ?? '', item);
        ready();
        for await (const event of this.#store.watch<ProcessGroup>(
          processGroupType,
          { resourceVersion },
          signal,
        )) {
          if (event.type === 'BOOKMARK') continue;
          this.#change(event.object.metadata.uid ?? '', event.type === 'DELETED' ? undefined : event.object);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!isStoreError(error)) throw error;
        await pause(100, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  #change(uid: string, group: ProcessGroup | undefined): void {
    if (group) this.#groups.set(uid, group);
    else this.#groups.delete(uid);
    for (const listener of [...(this.#listeners.get(uid) ?? [])]) listener(group);
  }
}
