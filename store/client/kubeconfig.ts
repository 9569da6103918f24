/**
 * From a kubeconfig to how its cluster is reached: address, certificates, tokens (also those that a program of the user's gives), and
 * the context's namespace. @kubernetes/client-node reads and authenticates, before every request, since tokens
 * run out.
 */
import { existsSync } from 'node:fs';
import https from 'node:https';
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import type { Access, HttpStoreOptions } from './http-store.ts';

export interface KubeTarget {
  readonly server: HttpStoreOptions;
  /** Of the context; undefined when it names none. */
  readonly namespace: string | undefined;
}

/**
 * A file, or what KUBECONFIG and ~/.kube/config say, with tokens and certificates as they are at the time of each request. Throws an
 * Error that names file or context and what to do.
 */
export function kubeDaemonTargetOf(file: string | undefined, context: string | undefined): KubeTarget {
  const { config, url, namespace } = loadConfig(file, context);
  return { server: { url, access: accessOf(config) }, namespace };
}

/** The cluster in whose Pod this process runs. */
export function inClusterTarget(): KubeTarget {
  const config = new KubeConfig();
  config.loadFromCluster();
  const cluster = config.getCurrentCluster();
  if (!cluster || !existsSync(serviceAccountToken)) {
    throw new Error(
      `MUSTER_KUBECONFIG: this is no Pod with a service account (${serviceAccountToken} is missing): give --kubeconfig FILE`,
    );
  }
  const namespace = config.getContextObject(config.getCurrentContext())?.namespace;
  return { server: { url: cluster.server, access: accessOf(config) }, namespace };
}

const serviceAccountToken = '/var/run/secrets/kubernetes.io/serviceaccount/token';
/** Longer than any watch lasts, so that nothing is cut off that began with older credentials. */
const oldConnectionsMs = 15 * 60_000;

function accessOf(config: KubeConfig): () => Promise<Access> {
  let known: { fingerprint: string; agent: https.Agent } | undefined;
  return async () => {
    const { tls, headers, proxied } = await credentialsOf(config);
    if (proxied) return { agent: proxied, headers };
    const fingerprint = JSON.stringify(tls);
    if (known?.fingerprint !== fingerprint) {
      const old = known?.agent;
      if (old) setTimeout(() => old.destroy(), oldConnectionsMs).unref();
      known = { fingerprint, agent: new https.Agent({ keepAlive: true, maxSockets: 64, ...tls }) };
    }
    return { agent: known.agent, headers };
  };
}

async function credentialsOf(
  config: KubeConfig,
): Promise<{ tls: https.AgentOptions; headers: Record<string, string>; proxied: https.Agent | undefined }> {
  const options: https.RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const { ca, cert, key, rejectUnauthorized, servername, headers, auth, agent } = options;
  const given = Object.entries({ ca, cert, key, rejectUnauthorized, servername });
  const basic = auth ? { authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {};
  const proxy = config.getCurrentCluster()?.proxyUrl;
  return {
    tls: Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== null)),
    headers: { ...(headers as Record<string, string> | undefined), ...basic },
    proxied: proxy ? (agent as https.Agent) : undefined,
  };
}

function loadConfig(
  file: string | undefined,
  context: string | undefined,
): { config: KubeConfig; url: string; namespace: string | undefined } {
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
  return { config, url: cluster.server, namespace: chosen.namespace };
}
