/**
 * `muster token create`: a one-time token and the whole command that uses it on the other machine. A control plane of its own is asked
 * for one; on Kubernetes it is put into the book that the controllers keep in a Secret, which takes the right to write that.
 */
import { annotations } from '../../crds/names.ts';
import { isStoreError, type AnyObject, type ObjectStore } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';

export interface TokenOptions {
  ttl: string;
  node?: string;
  namespace?: string;
}

interface MadeToken {
  readonly token: string;
  readonly caHash: string;
  readonly address: string;
}

export async function token(config: Config, args: string[], options: TokenOptions): Promise<number> {
  if (args[0] !== 'create') throw new CommandError(`muster token ${args[0] ?? ''}: expected "create"`, 2);
  const { token: text, address, caHash } = await madeToken(config, options);
  process.stdout.write(
    `muster agent --join ${address} --token ${text} --ca-hash ${caHash}${options.node === undefined ? '' : ` --node ${options.node}`}\n`,
  );
  return 0;
}

async function madeToken(config: Config, options: TokenOptions): Promise<MadeToken> {
  const client = connect(config.server);
  const path = '/apis/subresources.muster.dev/v1alpha1/jointokens';
  const body = {
    ttlSeconds: Number(options.ttl),
    ...(options.node === undefined ? {} : { node: options.node }),
  };
  try {
    return (await client.request('POST', path, body)) as MadeToken;
  } catch (error) {
    if (!config.isRemote || !isStoreError(error, 'NotFound')) throw error;
    return tokenInSecret(client.store, options);
  }
}

async function tokenInSecret(store: ObjectStore, options: TokenOptions): Promise<MadeToken> {
  const secrets = await import('../../controllers/pki/cluster-secret.ts');
  const { authorityHash } = await import('../../controllers/pki/certificate.ts');
  const { JoinTokens } = await import('../../controllers/pki/join-tokens.ts');
  const { namespace = secrets.defaultNamespace } = options;
  const certificate = await secrets.readAuthorityCertificate(store, namespace);
  const lease = await leaseOf(store, { namespace, name: secrets.controllerLease });
  const address = lease?.metadata.annotations?.[annotations.joinAddress.name];
  if (certificate === undefined || address === undefined) {
    throw new CommandError(
      `no controller has begun in namespace ${namespace}: start one ("muster controller --kubeconfig ..."), or give its namespace with -n`,
    );
  }
  const tokens = new JoinTokens(secrets.secretBookKeeper(store, namespace), Date.now);
  const made = await tokens.create({ ttlMs: Number(options.ttl) * 1000 });
  return { token: made, caHash: `sha256:${authorityHash(certificate)}`, address };
}

async function leaseOf(
  store: ObjectStore,
  key: { namespace: string; name: string },
): Promise<AnyObject | undefined> {
  try {
    return await store.get(builtinTypes.lease, key);
  } catch (error) {
    if (isStoreError(error, 'NotFound')) return undefined;
    throw error;
  }
}
