/**
 * Objects by the group that they are of (Checkpoints, Migrations), kept as they change: whoever looks for those of one group among
 * thousands looks at no others. It knows nothing of what they say.
 */
import type { KubernetesObject } from '../../store/object-store.ts';
import { keyOf, type Key } from './reconciler.ts';

export interface OfGroup extends KubernetesObject {
  readonly spec: { readonly processGroupName: string };
}

export class ByGroup<T extends OfGroup> {
  readonly #groups = new Map<Key, Map<Key, T>>();

  /** As a source of objects tells of it. */
  changed(key: Key, after: T | undefined, before: T | undefined): void {
    if (before && (!after || groupKeyOf(after) !== groupKeyOf(before))) this.#strike(groupKeyOf(before), key);
    if (!after) return;
    const group = groupKeyOf(after);
    const objects = this.#groups.get(group) ?? new Map<Key, T>();
    this.#groups.set(group, objects.set(key, after));
  }

  of(group: Key): ReadonlyMap<Key, T> {
    return this.#groups.get(group) ?? new Map<Key, T>();
  }

  #strike(group: Key, key: Key): void {
    const objects = this.#groups.get(group);
    objects?.delete(key);
    if (objects?.size === 0) this.#groups.delete(group);
  }
}

export function groupKeyOf({ metadata, spec }: OfGroup): Key {
  const { namespace = 'default' } = metadata;
  return keyOf({ metadata: { namespace, name: spec.processGroupName } });
}
