/**
 * A replica of the control plane on a Kubernetes cluster: it takes part in the election, and while it leads it runs controllers and
 * hub; until then it tells agents who does. All that must outlive it is in the cluster. This file only puts things together.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { type Logger, pino } from 'pino';
import {
  type ControlPlane,
  type ControlPlaneOptions,
  runControlPlane,
} from '../../controllers/control-plane.ts';
import { type Standby, startStandby } from '../../controllers/hub/standby.ts';
import { issue } from '../../controllers/pki/certificate.ts';
import {
  type ClusterAuthority,
  controllerLease,
  openClusterAuthority,
  publishBundle,
  rotateClusterAuthority,
  secretBookKeeper,
} from '../../controllers/pki/cluster-secret.ts';
import { PlaneMetrics } from '../../controllers/plane-metrics.ts';
import { nodeJudge } from '../../controllers/pki/service-account.ts';
import { startJoinServer } from '../../controllers/pki/join-server.ts';
import { JoinTokens } from '../../controllers/pki/join-tokens.ts';
import { systemClock } from '../../controllers/runtime/clock.ts';
import { type ElectionTimes, LeaderElection } from '../../controllers/runtime/leader-election.ts';
import { annotations } from '../../crds/names.ts';
import type { KubeTarget } from '../../store/client/kubeconfig.ts';
import { ClusterDoubtRecord } from '../../store/kubernetes/doubt.ts';
import { KubernetesStore } from '../../store/kubernetes/kubernetes-store.ts';
import { isStoreError } from '../../store/object-store.ts';
import { ownVersion } from '../commands/version.ts';
import { environmentSecrets } from './environment-secrets.ts';
import { KubeVerbs } from './kube-verbs.ts';
import { natureOf } from '../network-options.ts';
import { rangesOf } from '../network-pool.ts';
import { logDestination } from './log-destination.ts';
import { startMetrics } from './metrics.ts';
import { openTracing, type Tracing } from './tracing.ts';

export interface KubeControllerOptions {
  readonly target: KubeTarget;
  /** Where lease and Secrets of the controllers are. */
  readonly namespace: string;
  /** `host:port` for agents. */
  readonly listen: string;
  /** `host:port` for nodes that join; port 0 takes a free one. */
  readonly joinListen: string;
  /** `host:port` at which agents reach the hubs of all replicas, this one's first. */
  readonly advertise: readonly string[];
  /** `host:port` at which the API server reaches the verbs of this replica; none are served when left out. */
  readonly verbsListen?: string | undefined;
  /** `host:port` at which other replicas reach them; default `verbsListen`. */
  readonly verbsAdvertise?: string | undefined;
  /** `host:port` for Prometheus and the kubelet's probes; none are served when left out. */
  readonly metricsListen?: string | undefined;
  /** Service account of agents in Pods; without it nodes join with one-time tokens only. */
  readonly agentAccount?: { readonly namespace: string; readonly name: string } | undefined;
  /** Of groups that say nothing. */
  readonly network?: 'Isolated' | 'Host' | undefined;
  /** Address range that job networks are cut from. */
  readonly networkPool?: string | undefined;
  /** Of addresses that no job network crosses, besides those of the cluster; comma-separated. */
  readonly reservedRanges?: string | undefined;
  /** Of the tunnels between nodes. */
  readonly networkEncryption?: 'None' | 'WireGuard' | undefined;
  readonly networkFamilies?: 'IPv4' | 'DualStack' | undefined;
  /** Lease of groups that may be started elsewhere, in seconds. */
  readonly nodeLease?: number | undefined;
  /** Our own image, for carrier Pods; without it groups with a template are not supported. */
  readonly carriers?: ControlPlaneOptions['carriers'] | undefined;
  readonly electionTimes?: Partial<ElectionTimes>;
}

const longestRetryMs = 5_000;
const lookAgainMs = 60_000;

/** What is known of this replica from one authority to the next. */
interface Shown {
  ready: boolean;
  plane: ControlPlane | undefined;
}

export async function runKubeController(options: KubeControllerOptions, signal: AbortSignal): Promise<void> {
  const { target, namespace, metricsListen } = options;
  const logger = pino({ base: { part: 'controller' }, level: 'info' }, logDestination());
  using store = new KubernetesStore({
    server: target.server,
    logger,
    wentBack: (message) => doubt.raise(message),
  });
  const doubt = new ClusterDoubtRecord(store, namespace, logger);
  const shown: Shown = { ready: false, plane: undefined };
  const metrics = new PlaneMetrics(systemClock);
  await using tracing = await openTracing('muster-controller', undefined, logger);
  const [host, port] = metricsListen === undefined ? [] : splitAddress(metricsListen);
  await using _metrics =
    host === undefined || port === undefined
      ? undefined
      : await startMetrics({ host, port }, { ready: () => shown.ready, metrics });
  while (!signal.aborted) {
    let cluster: ClusterAuthority | undefined;
    const opened = async (): Promise<void> => {
      cluster = await openClusterAuthority(store, namespace, signal);
    };
    await untilDone(opened, namespace, logger, signal);
    if (cluster === undefined) return;
    const replaced = new AbortController();
    const either = AbortSignal.any([signal, replaced.signal]);
    const watching = untilReplaced(store, namespace, cluster, logger, either).finally(() => replaced.abort());
    try {
      await runReplica(options, { store, doubt, cluster, logger, metrics, tracing, shown }, either);
    } finally {
      shown.ready = false;
      replaced.abort();
      await watching;
    }
  }
}

/** Rotates the authority when it is time, and returns when it is not what this replica began with any more. */
async function untilReplaced(
  store: KubernetesStore,
  namespace: string,
  { authority, bundle }: ClusterAuthority,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await pause(lookAgainMs * (0.8 + Math.random() * 0.4), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      await rotateClusterAuthority(store, namespace, Date.now(), signal);
      const now = await openClusterAuthority(store, namespace, signal);
      if (now.bundle === bundle && now.authority.cert === authority.cert) continue;
      logger.info('the authority has changed: beginning anew with it');
      return;
    } catch (error) {
      if (signal.aborted) return;
      logger.warn({ err: error, namespace }, 'whether the authority has changed cannot be read');
    }
  }
}

interface Parts {
  readonly store: KubernetesStore;
  readonly doubt: ClusterDoubtRecord;
  readonly cluster: ClusterAuthority;
  readonly logger: Logger;
  readonly metrics: PlaneMetrics;
  readonly tracing: Tracing | undefined;
  readonly shown: Shown;
}

async function runReplica(options: KubeControllerOptions, parts: Parts, signal: AbortSignal): Promise<void> {
  const {
    namespace,
    listen,
    advertise,
    verbsListen,
    agentAccount,
    network,
    networkPool,
    reservedRanges,
    nodeLease,
    carriers,
  } = options;
  const { store, doubt, cluster, logger, metrics, tracing, shown } = parts;
  const { authority, clusterId, bundle } = cluster;
  const hosts = [listen, ...advertise].map((address) => address.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''));
  const service = `muster-verbs.${namespace}.svc`;
  const names = [...new Set(['localhost', '127.0.0.1', 'hub.muster', service, ...hosts])];
  const server = await issue(authority, { kind: 'server', names });
  const tls = { ca: bundle, cert: server.cert, key: server.key };

  const tokens = new JoinTokens(secretBookKeeper(store, namespace), Date.now);
  const [joinHost, joinPort] = splitAddress(options.joinListen);
  const welcome = { clusterId, hub: advertise.join(',') || listen };
  const judge = agentAccount ? { judge: nodeJudge(store, agentAccount) } : {};
  const joinOptions = { authority, bundle, tokens, logger, welcome, ...judge };
  const joining = await startJoinServer({ host: joinHost, port: joinPort }, server, joinOptions);

  const [verbsHost, verbsPort] = verbsListen === undefined ? [] : splitAddress(verbsListen);
  const verbs =
    verbsHost === undefined || verbsPort === undefined
      ? undefined
      : new KubeVerbs({
          store,
          listen: { host: verbsHost, port: verbsPort },
          tls,
          leader: () => election.leader?.about[annotations.verbsAddress.name] ?? '',
          logger,
        });

  let telling: Promise<boolean> | undefined;
  const own = advertise[0] ?? listen;
  const election = new LeaderElection({
    store,
    clock: systemClock,
    logger,
    lease: { namespace, name: controllerLease },
    identity: `${hostname()}_${randomUUID()}`,
    about: {
      [annotations.hubAddress.name]: own,
      [annotations.joinAddress.name]: `${own.replace(/:\d+$/, '')}:${joining.port}`,
      ...(verbsListen === undefined
        ? {}
        : { [annotations.verbsAddress.name]: options.verbsAdvertise ?? verbsListen }),
    },
    times: options.electionTimes ?? {},
    wentBack: (from, to) =>
      doubt.raise(
        `the cluster was put back to an older state: the Lease ${namespace}/${controllerLease} was at version ${from} and is at ${to}`,
      ),
  });
  /** For agents that come here while this replica waits: its own address is that of an earlier life, whose lease has yet to expire. */
  const leader = (): string => {
    const address = election.leader?.about[annotations.hubAddress.name] ?? '';
    return address === own ? '' : address;
  };

  let standby: Standby | undefined;
  const stand = async (): Promise<void> => {
    standby ??= await startStandby({ listen, tls, leader });
    await verbs?.stand();
  };
  try {
    await stand();
    if (agentAccount) {
      const tell = (): Promise<void> => publishBundle(store, namespace, bundle, signal);
      telling = untilDone(tell, namespace, logger, signal);
    }
    shown.ready = true;
    logger.info({ listen, join: joining.port, namespace }, 'controller ready');
    await election.run(async (leading) => {
      await standby?.[Symbol.asyncDispose]();
      standby = undefined;
      if (!(await untilDone(() => doubt.load(leading), namespace, logger, leading))) return;
      const plane = await runControlPlane(
        {
          store,
          isRemote: true,
          doubtful: doubt,
          hubListen: listen,
          tls,
          clusterId,
          build: ownVersion(),
          metrics,
          ...(tracing ? { trace: tracing.trace } : {}),
          logger,
          namespace,
          followNodes: true,
          secrets: environmentSecrets(store),
          ...(network === undefined ? {} : { network }),
          ...(networkPool === undefined ? {} : { networkPool }),
          reservedRanges: rangesOf(reservedRanges),
          ...natureOf(options),
          ...(nodeLease === undefined ? {} : { nodeLeaseSeconds: nodeLease }),
          leads: () => election.isLeading,
          ...(carriers === undefined ? {} : { carriers }),
        },
        leading,
      );
      shown.plane = plane;
      logger.info({ hub: plane.hub.port }, 'control plane ready');
      const serving = verbs?.lead(plane, leading).catch((error: unknown) => {
        logger.error({ err: error, listen: verbsListen }, 'the verbs cannot be served');
      });
      await plane.stopped;
      shown.plane = undefined;
      await serving;
      if (!signal.aborted) await stand();
    }, signal);
  } finally {
    await standby?.[Symbol.asyncDispose]();
    await verbs?.[Symbol.asyncDispose]();
    await joining.close();
    await telling;
  }
}

/** The API server may not be there yet, or not let us in yet: that is said, and tried again. False when the signal aborted. */
async function untilDone(
  work: () => Promise<void>,
  namespace: string,
  logger: Logger,
  signal: AbortSignal,
): Promise<boolean> {
  for (let failures = 0, told = ''; !signal.aborted; failures++) {
    try {
      await work();
      return true;
    } catch (error) {
      if (signal.aborted) break;
      if (!isStoreError(error)) throw error;
      if (error.message !== told)
        logger.warn({ err: error, namespace }, 'the cluster does not let us begin yet');
      told = error.message;
      const afterMs = Math.min(longestRetryMs, 200 * 2 ** Math.min(failures, 10));
      await pause(afterMs, undefined, { signal }).catch(() => undefined);
    }
  }
  return false;
}

export function splitAddress(address: string): [host: string, port: number] {
  const match = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(address);
  if (!match || Number(match[2]) > 65_535)
    throw new Error(`MUSTER_BAD_ADDRESS: ${address}: expected HOST:PORT`);
  return [match[1]!, Number(match[2])];
}
