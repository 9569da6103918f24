/**
 * The objects of a store in memory, found by key, uid and owner, and listed in order of namespace and name. It
 * holds only what is committed and checks nothing.
 */
import { resourceNameOf, type ResourceType } from './resource.ts';
import type { StoredObject } from './transition.ts';

/** A blank sorts before every character of a name, so keys sort by namespace, then name. */
export function tableKeyOf(namespace: string | undefined, name: string): string {
  return `${namespace ?? ''} ${name}`;
}

export function tableKeyOfObject(object: StoredObject): string {
  return tableKeyOf(object.metadata.namespace, object.metadata.name);
}

export class ObjectTable {
  readonly type: ResourceType;
  readonly resource: string;
  readonly #objects = new Map<string, StoredObject>();
  /** Sorted keys; rebuilt when first needed after a bulk of changes, kept by insertion afterwards. */
  #sorted: string[] | undefined;

  constructor(type: ResourceType) {
    this.type = type;
    this.resource = resourceNameOf(type);
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): StoredObject | undefined {
    return this.#objects.get(key);
  }

  set(key: string, object: StoredObject): StoredObject | undefined {
    const previous = this.#objects.get(key);
    this.#objects.set(key, object);
    if (previous === undefined && this.#sorted !== undefined) {
      this.#sorted.splice(lowerBound(this.#sorted, key), 0, key);
    }
    return previous;
  }

  delete(key: string): StoredObject | undefined {
    const previous = this.#objects.get(key);
    if (previous === undefined) return undefined;
    this.#objects.delete(key);
    if (this.#sorted !== undefined) this.#sorted.splice(lowerBound(this.#sorted, key), 1);
    return previous;
  }

  values(): Iterable<StoredObject> {
    return this.#objects.values();
  }

  /** In order; all namespaces when none is given. */
  sorted(namespace?: string): StoredObject[] {
    this.#sorted ??= [...this.#objects.keys()].sort();
    const from = namespace === undefined ? 0 : lowerBound(this.#sorted, `${namespace} `);
    const to = namespace === undefined ? this.#sorted.length : lowerBound(this.#sorted, `${namespace}!`);
    return this.#sorted.slice(from, to).map((key) => this.#objects.get(key)!);
  }
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Who is there by uid, and who names whom as owner. */
export class OwnerIndex {
  readonly #byUid = new Map<string, { table: ObjectTable; object: StoredObject }>();
  readonly #dependents = new Map<string, Set<string>>();

  put(table: ObjectTable, object: StoredObject): void {
    const { uid } = object.metadata;
    const previous = this.#byUid.get(uid)?.object;
    if (previous?.metadata.ownerReferences !== object.metadata.ownerReferences) {
      if (previous !== undefined) this.#unlink(previous);
      for (const owner of object.metadata.ownerReferences ?? []) {
        const known = this.#dependents.get(owner.uid);
        if (known === undefined) this.#dependents.set(owner.uid, new Set([uid]));
        else known.add(uid);
      }
    }
    this.#byUid.set(uid, { table, object });
  }

  remove(object: StoredObject): void {
    this.#unlink(object);
    this.#byUid.delete(object.metadata.uid);
  }

  find(uid: string): { table: ObjectTable; object: StoredObject } | undefined {
    return this.#byUid.get(uid);
  }

  dependentsOf(uid: string): { table: ObjectTable; object: StoredObject }[] {
    return [...(this.#dependents.get(uid) ?? [])].flatMap((dependent) => this.#byUid.get(dependent) ?? []);
  }

  hasDependents(uid: string): boolean {
    return this.#dependents.has(uid);
  }

  all(): Iterable<{ table: ObjectTable; object: StoredObject }> {
    return this.#byUid.values();
  }

  #unlink(object: StoredObject): void {
    for (const owner of object.metadata.ownerReferences ?? []) {
      const known = this.#dependents.get(owner.uid);
      known?.delete(object.metadata.uid);
      if (known?.size === 0) this.#dependents.delete(owner.uid);
    }
  }
}
