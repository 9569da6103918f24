/**
 * The verbs as an aggregated API of a Kubernetes cluster: over TLS, for requests that come through its API server, by users whom that
 * has authenticated and whose rights it judges. It runs where the hub is; other replicas pass connections on (verb-relay.ts).
 */
import type https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import { ApiServer } from '../../store/server/api-server.ts';
import { Picture } from '../page/picture.ts';
import { RankLoads } from '../page/rank-loads.ts';
import { addDashboard } from '../page/routes.ts';
import type { HubTls } from '../hub/hub.ts';
import type { Clock } from '../runtime/clock.ts';
import { pause } from '../runtime/object-source.ts';
import { accessReviewer } from './access-review.ts';
import { readRequestHeaderConfig, requestHeaderUser, type RequestHeaderConfig } from './request-header.ts';
import { addVerbs, type VerbPorts } from './verbs.ts';

export interface VerbServerOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** Of the server; `ca` is not who clients are known by. */
  readonly tls: Pick<HubTls, 'cert' | 'key'>;
  readonly ports: VerbPorts;
  /** Where the files of the web page are. */
  readonly pageDirectory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version?: string;
}

export interface VerbServer extends AsyncDisposable {
  readonly port: number;
}

const lookAgainMs = 60_000;
const retryMs = 2_000;

/** Waits until the cluster says how its front proxy is known; undefined when the signal aborts before. */
export async function startVerbServer(
  options: VerbServerOptions,
  signal: AbortSignal,
): Promise<VerbServer | undefined> {
  const { listen, tls, ports, clock, logger } = options;
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  let config = await untilConfigured(ports.store, clock, logger, both);
  if (!config) return undefined;
  const api = new ApiServer({
    types: [],
    version: options.version ?? '0.1.0',
    log: logger,
    authenticate: (request) => config && requestHeaderUser(request, config),
    authorize: accessReviewer(ports.store, () => clock.now()),
  });
  addVerbs(api.routes, ports);
  const picture = new Picture({
    ...{ store: ports.store, hub: ports.hub, groups: () => ports.groups.all(), clock, logger },
    loads: new RankLoads(ports.hub, clock),
    // Of all that happens on the cluster, what ours tell.
    eventSelector: 'reportingComponent=muster.dev/controllers',
  });
  addDashboard(api.routes, { picture, clock, directory: options.pageDirectory });
  const { port } = (await api.listen(listen, tlsOf(tls, config))) as AddressInfo;
  // An authority that is replaced counts for connections from then on.
  const following = (async () => {
    while (!both.aborted) {
      await pause(clock, lookAgainMs, both);
      const next = both.aborted ? undefined : await readAgain(ports.store, logger, both);
      if (next && JSON.stringify(next) !== JSON.stringify(config)) {
        config = next;
        api.renewTls(tlsOf(tls, config));
        logger.info('the front proxy is known in another way now');
      }
    }
  })();
  logger.info({ port }, 'verbs are served');
  return {
    port,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await api.close();
      await picture[Symbol.asyncDispose]();
      await following;
    },
  };
}

const tlsOf = (
  { cert, key }: VerbServerOptions['tls'],
  { ca }: RequestHeaderConfig,
): https.ServerOptions => ({
  cert,
  key,
  ca,
  requestCert: true,
  // Who shows no certificate, or another, is answered 401 in words that clients understand.
  rejectUnauthorized: false,
});

async function untilConfigured(
  store: ObjectStore,
  clock: Clock,
  logger: Logger,
  signal: AbortSignal,
): Promise<RequestHeaderConfig | undefined> {
  while (!signal.aborted) {
    const config = await readAgain(store, logger, signal);
    if (config) return config;
    await pause(clock, retryMs, signal);
  }
  return undefined;
}

async function readAgain(
  store: ObjectStore,
  logger: Logger,
  signal: AbortSignal,
): Promise<RequestHeaderConfig | undefined> {
  try {
    return await readRequestHeaderConfig(store, signal);
  } catch (error) {
    if (signal.aborted) return undefined;
    if (!isStoreError(error)) throw error;
    logger.warn({ err: error }, 'how the front proxy is known cannot be read; it is tried again');
    return undefined;
  }
}
