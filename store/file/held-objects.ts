/**
 * All objects of a store in memory, with what is kept beside them: who owns whom, and the latest changes of each kind, for watches to
 * resume from. Durable changes are applied to it in their order; who decides them, and how they become durable, it does not know.
 */
import { EventWindow } from '../event-window.ts';
import { concernsGarbage } from '../garbage.ts';
import type { OwnerReference } from '../object-store.ts';
import { ObjectTable, OwnerIndex, tableKeyOfObject } from '../object-table.ts';
import { frozenCopy } from '../plain.ts';
import { resourceNameOf, type ResourceType } from '../resource.ts';
import { StoreError } from '../store-error.ts';
import { withResourceVersion, type StoredObject } from '../transition.ts';
import type { Recovered } from './journal.ts';
import { versionOf, type Operation } from './recovery.ts';

export class HeldObjects {
  readonly owners = new OwnerIndex();
  /** Objects of kinds this build does not know: kept as they are, and shown to nobody. */
  readonly unknown = new Map<string, Operation>();
  readonly #types: readonly ResourceType[];
  readonly #windowEvents: number;
  readonly #look: (uid: string) => void;
  readonly #tables = new Map<string, ObjectTable>();
  readonly #windows = new Map<string, EventWindow>();
  readonly #touched = new Set<EventWindow>();
  /** From this version on every change is in the windows, unless it has left them again. */
  #floor = 0;

  /** `look` hears of objects that the garbage collector may have to do with. */
  constructor(types: readonly ResourceType[], windowEvents: number, look: (uid: string) => void) {
    this.#types = types;
    this.#windowEvents = windowEvents;
    this.#look = look;
    for (const type of types) this.#tables.set(resourceNameOf(type), new ObjectTable(type));
  }

  /** The number of objects. */
  get size(): number {
    let size = 0;
    for (const table of this.#tables.values()) size += table.size;
    return size;
  }

  /** Takes up what a journal and its snapshot hold. */
  load({ snapshot, snapshotVersion, journal, version, problems }: Recovered): void {
    // After a repair nobody may resume: what was lost would be missed.
    const damaged = problems.length > 0;
    this.#floor = damaged ? version : snapshotVersion;
    for (const operation of snapshot) this.#replay(operation, false);
    for (const operation of journal) this.#replay(operation, !damaged);
    for (const { object } of this.owners.all()) {
      if (concernsGarbage(object)) this.#look(object.metadata.uid);
    }
  }

  #replay(operation: Operation, remember: boolean): void {
    const [resource, key, value] = operation;
    const table = this.#tables.get(resource);
    if (table === undefined) {
      if (typeof value === 'number') this.unknown.delete(`${resource} ${key}`);
      else this.unknown.set(`${resource} ${key}`, operation);
      return;
    }
    const version = versionOf(operation);
    const previous = table.get(key);
    let object: StoredObject;
    if (typeof value === 'number') {
      if (previous === undefined) return;
      table.delete(key);
      this.owners.remove(previous);
      object = withResourceVersion(previous, version);
    } else {
      object = frozenCopy(value) as StoredObject;
      if (previous !== undefined && previous.metadata.uid !== object.metadata.uid)
        this.owners.remove(previous);
      table.set(key, object);
      this.owners.put(table, object);
    }
    const type = typeof value === 'number' ? 'DELETED' : previous === undefined ? 'ADDED' : 'MODIFIED';
    if (remember) this.window(resource).push({ version, type, object, previous });
  }

  table(type: ResourceType): ObjectTable {
    const table = this.#tables.get(resourceNameOf(type));
    if (table === undefined) {
      throw new StoreError('NotFound', `This store keeps no ${resourceNameOf(type)}`, { kind: type.plural });
    }
    return table;
  }

  window(resource: string): EventWindow {
    let window = this.#windows.get(resource);
    if (window === undefined) {
      window = new EventWindow(this.#windowEvents, this.#floor);
      this.#windows.set(resource, window);
    }
    return window;
  }

  /** A change that is durable. Watches hear of it at the next `wake`. */
  apply(table: ObjectTable, key: string, removed: boolean, object: StoredObject, version: number): void {
    const previous = removed ? table.delete(key) : table.set(key, object);
    if (removed) this.owners.remove(previous ?? object);
    else this.owners.put(table, object);
    const window = this.window(table.resource);
    const type = removed ? 'DELETED' : previous === undefined ? 'ADDED' : 'MODIFIED';
    window.push({ version, type, object, previous });
    this.#touched.add(window);
    this.#lookForGarbage(object, removed, previous);
  }

  #lookForGarbage(object: StoredObject, removed: boolean, previous: StoredObject | undefined): void {
    const { uid, deletionTimestamp } = object.metadata;
    if (removed || deletionTimestamp !== undefined) {
      for (const { object: dependent } of this.owners.dependentsOf(uid)) this.#look(dependent.metadata.uid);
    }
    if (!removed && concernsGarbage(object)) this.#look(uid);
    // An owner in deletion may have waited for this one to go, or to stop naming it.
    for (const owner of previous?.metadata.ownerReferences ?? []) {
      if (this.owners.find(owner.uid)?.object.metadata.deletionTimestamp !== undefined) this.#look(owner.uid);
    }
  }

  snapshot(): readonly Operation[] {
    const operations: Operation[] = [...this.unknown.values()];
    for (const table of this.#tables.values()) {
      for (const object of table.values())
        operations.push([table.resource, tableKeyOfObject(object), object]);
    }
    return operations;
  }

  wake(): void {
    for (const window of this.#touched) window.wake();
    this.#touched.clear();
  }

  wakeAll(): void {
    for (const window of this.#windows.values()) window.wake();
  }

  ownerState(object: StoredObject, owner: OwnerReference): 'present' | 'waiting' | 'absent' | 'unknown' {
    const found = this.owners.find(owner.uid);
    if (found === undefined) {
      const [group, version] = owner.apiVersion.includes('/')
        ? owner.apiVersion.split('/')
        : ['', owner.apiVersion];
      const known = this.#types.some(
        (type) => type.kind === owner.kind && type.group === group && type.version === version,
      );
      return known ? 'absent' : 'unknown';
    }
    const { namespace, deletionTimestamp, finalizers } = found.object.metadata;
    if (namespace !== undefined && namespace !== object.metadata.namespace) return 'absent';
    const foreground = deletionTimestamp !== undefined && (finalizers ?? []).includes('foregroundDeletion');
    return foreground ? 'waiting' : 'present';
  }
}
