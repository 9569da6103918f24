/**
 * What the controllers of one cluster share and nobody else may read, in Secrets of their own namespace: the authority, made by
 * whichever replica is first, and the book of join tokens. Replicas that write at once: one wins, the other reads what that wrote.
 */
import { randomUUID } from 'node:crypto';
import { isStoreError, type AnyObject, type ObjectStore } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';
import { type KeyAndCertificate, makeAuthority } from './certificate.ts';
import type { BookKeeper } from './join-tokens.ts';

export const authoritySecret = 'muster-authority';
const tokenSecret = 'muster-join-tokens';

export interface ClusterAuthority {
  readonly clusterId: string;
  readonly authority: KeyAndCertificate;
}

interface Secret extends AnyObject {
  data?: Record<string, string>;
}

export async function openClusterAuthority(
  store: ObjectStore,
  namespace: string,
  signal: AbortSignal,
): Promise<ClusterAuthority> {
  const found = await readSecret(store, namespace, authoritySecret, signal);
  if (found !== undefined) return authorityOf(found, namespace);
  const clusterId = randomUUID();
  const made = await makeAuthority(`muster ${clusterId.slice(0, 8)}`);
  const secret = secretOf(namespace, authoritySecret, {
    'cluster-id': clusterId,
    'ca.crt': made.cert,
    'ca.key': made.key,
  });
  try {
    await store.create<Secret>(builtinTypes.secret, secret, signal);
  } catch (error) {
    if (!isStoreError(error, 'AlreadyExists')) throw error;
  }
  const kept = await readSecret(store, namespace, authoritySecret, signal);
  return authorityOf(kept ?? secret, namespace);
}

/** The book of join tokens as a Secret. */
export function secretBookKeeper(store: ObjectStore, namespace: string): BookKeeper {
  const key = 'book.json';
  let known: Secret | undefined;
  return {
    read: async () => {
      known = await readSecret(store, namespace, tokenSecret);
      return known?.data?.[key] === undefined ? undefined : plain(known.data[key]);
    },
    write: async (text) => {
      const next = secretOf(namespace, tokenSecret, { [key]: text });
      known = known
        ? await store.update<Secret>(builtinTypes.secret, { ...known, data: next.data ?? {} })
        : await store.create<Secret>(builtinTypes.secret, next);
    },
  };
}

function authorityOf({ data = {} }: Secret, namespace: string): ClusterAuthority {
  const [clusterId, cert, key] = ['cluster-id', 'ca.crt', 'ca.key'].map((name) => plain(data[name] ?? ''));
  if (!clusterId || !cert || !key) {
    throw new Error(
      `MUSTER_AUTHORITY_BROKEN: Secret ${namespace}/${authoritySecret} lacks cluster-id, ca.crt or ca.key: restore it, or delete it and let every node join anew`,
    );
  }
  return { clusterId, authority: { cert, key } };
}

async function readSecret(
  store: ObjectStore,
  namespace: string,
  name: string,
  signal?: AbortSignal,
): Promise<Secret | undefined> {
  try {
    return await store.get<Secret>(builtinTypes.secret, { namespace, name }, signal);
  } catch (error) {
    if (isStoreError(error, 'NotFound')) return undefined;
    throw error;
  }
}

function secretOf(namespace: string, name: string, texts: Record<string, string>): Secret {
  const data = Object.entries(texts).map(([key, text]) => [key, Buffer.from(text).toString('base64')]);
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace, name, labels: { 'app.kubernetes.io/part-of': 'muster' } },
    type: 'Opaque',
    data: Object.fromEntries(data) as Record<string, string>,
  };
}

const plain = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8');
