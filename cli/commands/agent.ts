/**
 * `muster agent`: the agent of one node, in the foreground until SIGTERM. On the machine of its control plane it takes a
 * certificate itself; elsewhere it joins once with a token, and finds what it joined again at the next start.
 */
import { createSocket } from 'node:dgram';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { pino } from 'pino';
import { readIfThere, writePrivately } from '../../controllers/pki/key-files.ts';
import { defaultNodeConfig, type TlsPaths } from '../../node-agent/config.ts';
import { runAgent } from '../../node-agent/main.ts';
import { type Config, criuPrograms, failPointsFile, nativeDirectory } from '../config.ts';
import { enrolLocalNode, nodeKeyPaths } from '../daemon/cluster-keys.ts';
import { runEnrolled } from '../daemon/enrolment.ts';
import { readHubFile } from '../daemon/hub-file.ts';
import { logDestination } from '../daemon/log-destination.ts';
import { stopSignal } from '../daemon/stop-signal.ts';
import { openTracing } from '../daemon/tracing.ts';
import { CommandError } from '../errors.ts';
import { failPoints } from '../fail-points.ts';
import { type Home, makeHome, nodeDirectoryOf, nodeSocketOf, nodeStateOf } from '../home.ts';
import { readNodeConfig } from '../node-config.ts';
import { ownVersion } from './version.ts';

export interface AgentOptions {
  node?: string;
  join?: string;
  token?: string;
  caHash?: string;
  serviceAccountToken?: string;
  caFile?: string;
  address?: string;
  hub?: string[];
  bind?: string[];
  allowUids?: string;
  nodeConfig?: string;
  metricsListen?: string;
  metricsToken?: string;
}

interface Place {
  readonly tls: TlsPaths;
  readonly hubs: readonly string[];
  /** Where others reach this node unless --address says otherwise. */
  readonly host: string;
}

export async function agent(config: Config, _args: string[], options: AgentOptions): Promise<number> {
  const { home } = config;
  const node = options.node ?? hostname().split('.')[0]!.toLowerCase();
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(node)) {
    throw new CommandError(`--node ${node}: expected a name of small letters, digits and dashes`, 2);
  }
  const given = options.nodeConfig === undefined ? {} : readNodeConfig(options.nodeConfig);
  const metrics = metricsOf(options);
  makeHome(home);
  mkdirSync(nodeStateOf(home, node), { recursive: true, mode: 0o700 });
  const logger = pino({ base: { part: 'agent', node }, level: 'info' }, logDestination());
  const signal = stopSignal();
  await using tracing = await openTracing('muster-agent', node, logger);
  const reached = failPoints(failPointsFile());
  const run = (place: Place, until: AbortSignal): Promise<void> =>
    runAgent(
      {
        node,
        stateDir: nodeStateOf(home, node),
        hubAddresses: place.hubs,
        tls: place.tls,
        peerHost: options.address ?? place.host,
        peerPort: 0,
        localSocket: nodeSocketOf(home, node),
        nativeDir: nativeDirectory(),
        criu: criuPrograms(),
        ...(reached === undefined ? {} : { reached }),
        nodeConfig: {
          ...defaultNodeConfig,
          ...given,
          ...(options.allowUids === undefined ? {} : { allowedUids: options.allowUids }),
          binds: [...(given.binds ?? []), ...(options.bind ?? []).map((directory) => bindOf(directory))],
        },
        build: ownVersion(),
        ...(metrics === undefined ? {} : { metrics }),
        ...(tracing ? { trace: tracing.trace } : {}),
        logger,
      },
      until,
    );
  const { serviceAccountToken, caFile } = options;
  if (serviceAccountToken === undefined) {
    await run(await placeOf(home, node, options, signal), signal);
    return 0;
  }
  if (caFile === undefined || options.join === undefined || options.address === undefined)
    throw new CommandError('--service-account-token needs --join, --ca-file and --address', 2);
  const { host, port } = joinAddressOf(options.join);
  const from = { host, port, node, tokenFile: serviceAccountToken, caFile, paths: nodeKeyPaths(home, node) };
  const { address } = options;
  await runEnrolled(
    from,
    logger,
    (hubs, until) => run({ tls: from.paths, hubs, host: address }, until),
    signal,
  );
  return 0;
}

function metricsOf({ metricsListen, metricsToken }: AgentOptions) {
  if (metricsListen === undefined) {
    if (metricsToken !== undefined) throw new CommandError('--metrics-token needs --metrics-listen', 2);
    return undefined;
  }
  const match = /^\[?([^\]]*?)\]?:(\d{1,5})$/.exec(metricsListen);
  if (!match?.[1]) throw new CommandError(`--metrics-listen ${metricsListen}: expected HOST:PORT`, 2);
  return { host: match[1], port: Number(match[2]), tokenFile: metricsToken };
}

function bindOf(directory: string): { source: string } {
  if (!directory.startsWith('/')) throw new CommandError(`--bind ${directory}: expected an absolute path`, 2);
  try {
    statSync(directory);
  } catch (cause) {
    throw new CommandError(`--bind ${directory}: cannot be read`, 1, { cause });
  }
  return { source: directory };
}

async function placeOf(home: Home, node: string, options: AgentOptions, signal: AbortSignal): Promise<Place> {
  const joinedFile = join(nodeDirectoryOf(home, node), 'joined.json');
  if (options.join !== undefined) {
    const joined = await readIfThere(joinedFile);
    if (joined === undefined) await joinOnce(home, node, options, joinedFile, signal);
  }
  const joined = await readIfThere(joinedFile);
  if (joined !== undefined) {
    const { hub } = JSON.parse(joined) as { hub: string };
    const hubs = options.hub ?? hub.split(',');
    const address = options.address ?? (await addressTowards(hubs[0]!));
    return { tls: nodeKeyPaths(home, node), hubs, host: address };
  }
  for (;;) {
    const hub = await readHubFile(home);
    const tls = await enrolLocalNode(home, node);
    if (hub && tls) return { tls, hubs: [`${hub.host}:${hub.hubPort}`], host: hub.host };
    await pause(20, undefined, { signal });
  }
}

function joinAddressOf(text: string): { host: string; port: number } {
  const match = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(text);
  if (!match) throw new CommandError(`--join ${text}: expected HOST:PORT`, 2);
  return { host: match[1]!, port: Number(match[2]) };
}

async function joinOnce(
  home: Home,
  node: string,
  options: AgentOptions,
  joinedFile: string,
  signal: AbortSignal,
): Promise<void> {
  const { host, port } = joinAddressOf(options.join ?? '');
  if (options.token === undefined || options.caHash === undefined) {
    throw new CommandError('--join needs --token and --ca-hash, as "muster token create" prints them', 2);
  }
  const token = options.token.startsWith('@')
    ? readFileSync(options.token.slice(1), 'utf8').trim()
    : options.token;
  const request = { host, port, token, node, caHash: options.caHash };
  const { joinCluster } = await import('../../controllers/pki/join-client.ts');
  const joined = await joinCluster(request, signal);
  mkdirSync(nodeDirectoryOf(home, node), { recursive: true, mode: 0o700 });
  const paths = nodeKeyPaths(home, node);
  await writePrivately(paths.ca, joined.ca);
  await writePrivately(paths.key, joined.key);
  await writePrivately(paths.cert, joined.cert);
  await writePrivately(joinedFile, JSON.stringify({ hub: joined.welcome['hub'] }));
}

/** Our own address on the way to the hub, as the routing table has it: a connected UDP socket sends nothing. */
async function addressTowards(hub: string): Promise<string> {
  const host = hub.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  try {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once('error', reject);
    socket.connect(9, host, () => resolve());
    await promise;
    return socket.address().address;
  } catch (cause) {
    throw new CommandError(`no way to ${host}; give --address, at which other nodes reach this one`, 1, {
      cause,
    });
  } finally {
    socket.close();
  }
}
