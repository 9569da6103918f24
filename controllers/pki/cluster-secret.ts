/**
 * What the controllers of one cluster share and nobody else may read, in Secrets of their own namespace: the authority, made by
 * whichever replica is first, and the book of join tokens. Replicas that write at once: one wins, the other reads what that wrote.
 */
import { randomUUID, X509Certificate } from 'node:crypto';
import { annotations } from '../../crds/names.ts';
import { isStoreError, type AnyObject, type ObjectStore } from '../../store/object-store.ts';
import { authorityName } from '../../wire/authority-name.ts';
import { builtinTypes } from '../../store/resource.ts';
import { type Authorities, bundleOf, rotated, rotationStepOf } from './authority-rotation.ts';
import { backdateMs, type KeyAndCertificate, makeAuthority } from './certificate.ts';
import type { BookKeeper } from './join-tokens.ts';

/** Where controllers are when nothing else is said. */
export const defaultNamespace = 'muster-system';
export const controllerLease = 'muster-controller';
export const authoritySecret = 'muster-authority';
const tokenSecret = 'muster-join-tokens';
export const bundleConfigMap = 'muster-authority';

export interface ClusterAuthority {
  readonly clusterId: string;
  readonly authority: KeyAndCertificate;
  /** PEM of all authorities that are believed. */
  readonly bundle: string;
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
  const made = await makeAuthority(authorityName(clusterId, Date.now()));
  const secret = secretOf(namespace, authoritySecret, {
    'cluster-id': clusterId,
    ...textsOf({ current: made, sinceMs: Date.now() }),
  });
  try {
    await store.create<Secret>(builtinTypes.secret, secret, signal);
  } catch (error) {
    if (!isStoreError(error, 'AlreadyExists')) throw error;
  }
  const kept = await readSecret(store, namespace, authoritySecret, signal);
  return authorityOf(kept ?? secret, namespace);
}

/** Takes the step of rotation that is due, if any; false when there was none. Of replicas that do so at once, one does it. */
export async function rotateClusterAuthority(
  store: ObjectStore,
  namespace: string,
  nowMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const secret = await readSecret(store, namespace, authoritySecret, signal);
  if (secret === undefined) return false;
  const { clusterId } = authorityOf(secret, namespace);
  const kept = authoritiesOf(secret);
  const askedMs = Date.parse(secret.metadata.annotations?.[annotations.rotateAuthority.name] ?? '');
  const began = new X509Certificate(kept.current.cert).validFromDate.getTime() + backdateMs;
  const at = { nowMs, beganMs: began, askedMs: Number.isNaN(askedMs) ? undefined : askedMs };
  const step = rotationStepOf(kept, at);
  if (step === 'None') return false;
  const made = step === 'MakeNext' ? await makeAuthority(authorityName(clusterId, nowMs)) : undefined;
  const texts = { 'cluster-id': clusterId, ...textsOf(rotated(kept, step, nowMs, made)) };
  try {
    await store.update<Secret>(
      builtinTypes.secret,
      { ...secret, data: secretOf(namespace, authoritySecret, texts).data ?? {} },
      signal,
    );
  } catch (error) {
    if (!isStoreError(error, 'Conflict')) throw error;
  }
  return true;
}

/** Tells agents in Pods whom to believe: in a ConfigMap of the controllers' namespace, which the agents' Pods mount. */
export async function publishBundle(
  store: ObjectStore,
  namespace: string,
  bundle: string,
  signal: AbortSignal,
): Promise<void> {
  const metadata = { namespace, name: bundleConfigMap, labels: { 'app.kubernetes.io/part-of': 'muster' } };
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'ca.crt': bundle } };
  const key = { namespace, name: bundleConfigMap };
  try {
    const found = await store.get<AnyObject & { data?: Record<string, string> }>(
      builtinTypes.configMap,
      key,
      signal,
    );
    if (found.data?.['ca.crt'] === bundle) return;
    const patch = { type: 'merge' as const, patch: { data: object.data } };
    await store.patch(builtinTypes.configMap, key, patch, {}, signal);
  } catch (error) {
    if (!isStoreError(error, 'NotFound')) throw error;
    try {
      await store.create<AnyObject>(builtinTypes.configMap, object, signal);
    } catch (again) {
      if (!isStoreError(again, 'AlreadyExists')) throw again;
    }
  }
}

/** The authority's certificate; undefined where no controller has been yet. */
export async function readAuthorityCertificate(
  store: ObjectStore,
  namespace: string,
): Promise<string | undefined> {
  const secret = await readSecret(store, namespace, authoritySecret);
  return secret === undefined ? undefined : authorityOf(secret, namespace).authority.cert;
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

function authorityOf(secret: Secret, namespace: string): ClusterAuthority {
  const clusterId = plain(secret.data?.['cluster-id'] ?? '');
  const kept = authoritiesOf(secret);
  if (!clusterId || !kept.current.cert || !kept.current.key) {
    throw new Error(
      `MUSTER_AUTHORITY_BROKEN: Secret ${namespace}/${authoritySecret} lacks cluster-id, ca.crt or ca.key: restore it, or delete it and let every node join anew`,
    );
  }
  return { clusterId, authority: kept.current, bundle: bundleOf(kept) };
}

function authoritiesOf({ data = {} }: Secret): Authorities {
  const text = (name: string): string => plain(data[name] ?? '');
  const [cert, key, previous] = [text('next.crt'), text('next.key'), text('previous.crt')];
  return {
    current: { cert: text('ca.crt'), key: text('ca.key') },
    ...(cert && key ? { next: { cert, key } } : {}),
    ...(previous ? { previous } : {}),
    sinceMs: Date.parse(text('since')) || 0,
  };
}

function textsOf({ current, next, previous, sinceMs }: Authorities): Record<string, string> {
  return {
    'ca.crt': current.cert,
    'ca.key': current.key,
    ...(next ? { 'next.crt': next.cert, 'next.key': next.key } : {}),
    ...(previous ? { 'previous.crt': previous } : {}),
    since: new Date(sinceMs).toISOString(),
  };
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
