/**
 * The control plane of a home as one process: file store, controllers with hub, API socket, front socket, manifests directory,
 * join server. This file only puts them together, in the order in which they need one another.
 */
import { chmodSync, rmSync } from 'node:fs';
import { type AddressInfo, isIPv6 } from 'node:net';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { pino } from 'pino';
import { prepareAdmission } from '../../crds/admission.ts';
import { annotations } from '../../crds/names.ts';
import { PlaneMetrics } from '../../controllers/plane-metrics.ts';
import { runControlPlane } from '../../controllers/control-plane.ts';
import { authorityHash } from '../../controllers/pki/certificate.ts';
import { startJoinServer } from '../../controllers/pki/join-server.ts';
import { JoinTokens } from '../../controllers/pki/join-tokens.ts';
import { openCertificate, writePrivately } from '../../controllers/pki/key-files.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import type { AnyObject } from '../../store/object-store.ts';
import { FileStore } from '../../store/file/file-store.ts';
import { Manifests } from '../../store/file/manifests.ts';
import { musterAdmit, musterTypes } from '../../store/muster-types.ts';
import { ApiServer } from '../../store/server/api-server.ts';
import { NamespaceLifecycle } from '../../store/namespace-lifecycle.ts';
import { ownVersion } from '../commands/version.ts';
import { clientLeaseMs, failPointsFile, pageDirectory } from '../config.ts';
import { failPoints } from '../fail-points.ts';
import { apiSocketOf, frontSocketOf, type Home, hubFileOf, makeHome } from '../home.ts';
import { ApiTokens } from './api-tokens.ts';
import { isTls, tlsUser } from './api-users.ts';
import { addCredentials, tokensFileOf, writeOwnKubeconfig } from './credentials.ts';
import { hasCluster, isLocalNode, openCluster } from './cluster-keys.ts';
import { environmentSecrets } from './environment-secrets.ts';
import { type HubFile, readHubFile } from './hub-file.ts';
import { FrontServer } from './front-server.ts';
import { natureOf, type NetworkOptions } from '../network-options.ts';
import type { NodeLeaseOptions } from '../node-lease.ts';
import { InputDesk } from '../../controllers/subresources/input-desk.ts';
import { addDashboard } from '../../controllers/page/routes.ts';
import { Picture } from '../../controllers/page/picture.ts';
import { RankLoads } from '../../controllers/page/rank-loads.ts';
import { systemClock } from '../../controllers/runtime/clock.ts';
import { addVerbs } from '../../controllers/subresources/verbs.ts';
import { processGroupType } from '../../controllers/resource-types.ts';
import { runEndOf } from '../../controllers/subresources/exit-code.ts';
import { GroupBook } from '../../controllers/subresources/group-book.ts';
import { rangesOf } from '../network-pool.ts';
import { logDestination } from './log-destination.ts';
import { keepOwnAnnotations, localUser, submittedGroup, verdictOn } from './local-access.ts';
import { PrivateRecords } from './private-records.ts';
import { rulesOf } from './roles.ts';
import { clientPresence, runPorts } from './run-ports.ts';
import { addMachineRoutes } from './subresources.ts';
import { openTracing } from './tracing.ts';

export async function runController(
  home: Home,
  host: string,
  options: NetworkOptions & NodeLeaseOptions,
  signal: AbortSignal,
): Promise<void> {
  const { network, networkPool, reservedRanges, nodeLease } = options;
  const logger = pino({ base: { part: 'controller' }, level: 'info' }, logDestination());
  makeHome(home);
  const ownerUid = process.getuid?.() ?? 0;
  await using store = await FileStore.open({
    directory: home.store,
    existed: hasCluster(home),
    types: musterTypes(),
    admit: admitKeepingOwn,
    log: logger,
  });
  const { clusterId, authority } = await openCluster(home);
  const names = ['localhost', '127.0.0.1', host, 'hub.muster'];
  const file = `server-${host.replaceAll(/[^0-9a-z.]/gi, '_')}`;
  const server = await openCertificate(home.pki, file, authority, { kind: 'server', names });
  const records = new PrivateRecords(home.secrets);
  const groups = new GroupBook(store);
  const known = Promise.withResolvers<void>();
  const following = groups.follow(() => known.resolve(), signal);
  await known.promise;
  const recordOf = ({ metadata }: ProcessGroup): string | undefined =>
    metadata.annotations?.[annotations.environmentSecret.name];
  if (store.doubt === undefined)
    records.keepOnly(new Set([...groups.all()].flatMap((group) => recordOf(group) ?? [])));

  const before = await readHubFile(home);
  const leaseMs = clientLeaseMs();
  const reached = failPoints(failPointsFile());
  const secretsInStore = environmentSecrets(store);
  const metrics = new PlaneMetrics(systemClock);
  await using tracing = await openTracing('muster-controller', undefined, logger);
  const planeOptions = {
    store,
    doubtful: store,
    tls: { ca: authority.cert, cert: server.cert, key: server.key },
    clusterId,
    build: ownVersion(),
    metrics,
    ...(tracing ? { trace: tracing.trace } : {}),
    logger,
    ...(reached === undefined ? {} : { reached }),
    ...(leaseMs === undefined ? {} : { clientLeaseMs: leaseMs }),
    ...(network === undefined ? {} : { network }),
    ...(networkPool === undefined ? {} : { networkPool }),
    reservedRanges: rangesOf(reservedRanges),
    ...natureOf(options),
    ...(nodeLease === undefined ? {} : { nodeLeaseSeconds: nodeLease }),
    secrets: {
      get: async (group: ProcessGroup) => {
        const record = records.get(recordOf(group));
        if (!record) return secretsInStore.get(group);
        return {
          env: Object.entries(record.environment).map(([name, value]) => ({ name, value })),
          frontToken: record.frontToken,
        };
      },
    },
  };
  const planeOn = (port: number) =>
    runControlPlane({ ...planeOptions, hubListen: `${host}:${port}` }, signal);
  await using plane = await planeOn(before?.hubPort ?? 0).catch((error: unknown) => {
    if (before === undefined) throw error;
    logger.warn(
      { err: error, port: before.hubPort },
      'the port of the last start is taken; another one is used',
    );
    return planeOn(0);
  });

  using _ahead = store.foretell((type, object, isNew) => {
    if (type.kind !== processGroupType.kind) return;
    const group = object as ProcessGroup;
    if (isNew) plane.foresee(group);
    else if (runEndOf(group)) groups.foretell(group);
  });

  const tokens = new JoinTokens(join(home.pki, 'join-tokens.json'), Date.now);
  const joinOptions = {
    isTaken: (node: string) => isLocalNode(home, node),
    authority,
    tokens,
    logger,
    welcome: { clusterId, hub: `${host}:${plane.hub.port}` },
  };
  const joinOn = (port: number) => startJoinServer({ host, port }, server, joinOptions);
  const joining = await joinOn(before?.joinPort ?? 0).catch(() => joinOn(0));
  const namespaces = new NamespaceLifecycle({ store, types: musterTypes(), log: logger }, signal);
  await namespaces.begin();
  const keepingNamespaces = namespaces.run();
  const apiTokens = await ApiTokens.open(tokensFileOf(home));
  await using api = new ApiServer({
    store,
    types: musterTypes(),
    version: ownVersion(),
    log: logger,
    authenticate: (request) =>
      isTls(request) ? tlsUser(request, apiTokens, Date.now()) : localUser(request, ownerUid),
    authorize: (access) => verdictOn(store, access),
    rulesOf,
    prepareCreate: (user, object) => (object.kind === 'ProcessGroup' ? submittedGroup(user, object) : object),
  });
  const failed = (error: unknown, message: string): void => logger.warn({ err: error }, message);
  using presence = clientPresence(plane, leaseMs);
  const ports = runPorts(plane, store, presence, failed);
  addVerbs(api.routes, {
    store,
    hub: plane.hub,
    groups,
    inputs: new InputDesk(),
    end: (group, now) => ports.end(group, now),
    lease: (uid, present) => presence.set(uid, present),
    failed,
  });
  await using picture = new Picture({
    ...{ store, hub: plane.hub, groups: () => groups.all(), clock: systemClock, logger },
    loads: new RankLoads(plane.hub, systemClock),
  });
  addDashboard(api.routes, { picture, clock: systemClock, directory: pageDirectory() });
  addMachineRoutes(api.routes, {
    metrics,
    hub: plane.hub,
    unknown: plane.unknown,
    createToken: async ({ ttlSeconds, node }) => ({
      token: await tokens.create({ ttlMs: ttlSeconds * 1000, ...(node === undefined ? {} : { node }) }),
      caHash: `sha256:${authorityHash(authority.cert)}`,
      address: `${host}:${joining.port}`,
    }),
  });
  const apiSocket = apiSocketOf(home);
  rmSync(apiSocket, { force: true });
  await api.listen({ path: apiSocket });
  chmodSync(apiSocket, 0o666);
  const apiTls = { ca: authority.cert, cert: server.cert, key: server.key, requestCert: true };
  const apiOn = async (port: number) =>
    (await api.listen({ host, port }, { ...apiTls, rejectUnauthorized: false })) as AddressInfo;
  const { port: apiPort } = await apiOn(before?.apiPort ?? 0).catch(() => apiOn(0));
  const apiAddress = { server: urlOf(host, apiPort), authority };
  addCredentials(api, apiAddress, apiTokens);
  await writeOwnKubeconfig(home, apiAddress);
  const hubFile: HubFile = { host, hubPort: plane.hub.port, joinPort: joining.port, apiPort };
  if (!isDeepStrictEqual(before, hubFile)) await writePrivately(hubFileOf(home), JSON.stringify(hubFile));
  rmSync(frontSocketOf(home), { force: true });
  const front = new FrontServer({
    store,
    groups,
    records,
    socketPath: frontSocketOf(home),
    ports,
    ownerUid,
    log: logger,
  });
  const manifests = new Manifests({
    directory: home.manifests,
    store,
    types: musterTypes(),
    memoryFile: join(home.store, 'manifests.json'),
    log: logger,
  });
  await manifests.start();
  prepareAdmission();
  logger.info({ home: home.root, hub: plane.hub.port }, 'control plane ready');
  try {
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    front.close();
    await manifests[Symbol.asyncDispose]();
    await joining.close();
    await following;
    await keepingNamespaces;
  }
}

/** Where clients of this machine reach an address that the API listens on. */
function urlOf(host: string, port: number): string {
  const reached = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `https://${isIPv6(reached) ? `[${reached}]` : reached}:${port}`;
}

/** Annotations that tell whose a job is cannot be changed by anybody's update. */
const admitKeepingOwn: typeof musterAdmit = (operation, object, old) =>
  musterAdmit(
    operation,
    old !== undefined && object.kind === 'ProcessGroup'
      ? keepOwnAnnotations(object as AnyObject, old as AnyObject)
      : object,
    old,
  );
