/**
 * From a kubeconfig to how its cluster is reached: address, certificates, tokens (also those that a program of the user's gives), and
 * the context's namespace. @kubernetes/client-node reads and authenticates; this only asks it, once.
 */
import { existsSync } from 'node:fs';
import type https from 'node:https';
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import type { HttpStoreOptions } from './http-store.ts';

export interface KubeTarget {
  readonly server: HttpStoreOptions;
  /** Of the context; undefined when it names none. */
  readonly namespace: string | undefined;
}

/** A file, or what KUBECONFIG and ~/.kube/config say. Throws an Error that names file or context and what to do. */
export async function kubeTargetOf(
  file: string | undefined,
  context: string | undefined,
): Promise<KubeTarget> {
  const config = new KubeConfig();
  if (file === undefined) config.loadFromDefault();
  else {
    if (!existsSync(file)) throw new Error(`MUSTER_KUBECONFIG: ${file}: there is no such file`);
    try {
      config.loadFromFile(file);
    } catch (cause) {
      throw new Error(`MUSTER_KUBECONFIG: ${file} is not a kubeconfig`, { cause });
    }
  }
  const where = file ?? 'the kubeconfig';
  if (context !== undefined) config.setCurrentContext(context);
  const chosen = config.getContextObject(config.getCurrentContext());
  const cluster = config.getCurrentCluster();
  if (!chosen || !cluster) {
    const known = config.getContexts().map(({ name }) => name);
    throw new Error(
      `MUSTER_KUBECONFIG: ${where} has no context "${config.getCurrentContext()}" with a cluster; it has ${known.join(', ') || 'none'}`,
    );
  }
  const options: https.RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const { ca, cert, key, rejectUnauthorized, servername, headers, auth } = options;
  const given = Object.entries({ ca, cert, key, rejectUnauthorized, servername });
  const basic = auth ? { authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {};
  return {
    server: {
      url: cluster.server,
      tls: Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== null)),
      headers: { ...(headers as Record<string, string> | undefined), ...basic },
    },
    namespace: chosen.namespace,
  };
}
