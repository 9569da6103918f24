/**
 * The contract of every reconciler: it is given a key, never an event, and is right from a cold start. A throw means
 * that it is tried again with backoff; `again` that it wants to look again by itself after some time; `settled` that
 * only a change of what it watches matters.
 */
export type Key = string;

export type Outcome = { readonly kind: 'settled' } | { readonly kind: 'again'; readonly afterMs: number };

export const settled: Outcome = { kind: 'settled' };

export interface Reconciler {
  readonly name: string;
  reconcile(key: Key, signal: AbortSignal): Promise<Outcome>;
}

export interface ObjectName {
  readonly namespace?: string;
  readonly name: string;
}

/** `namespace/name`, or `name` for cluster-scoped objects. */
export function keyOf(object: { metadata: { namespace?: string; name?: string } }): Key {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? (name ?? '') : `${namespace}/${name ?? ''}`;
}

export function nameOf(key: Key): ObjectName {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
