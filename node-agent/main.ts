// The node agent: puts its parts together, runs until told to stop, and lets go of everything without touching a rank.
// One agent a state directory, held by a lock on a file in it.
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { native as loadNative } from '../native/addon/index.ts';
import { endpointOf } from '../wire/endpoint.ts';
import { loadWire, type PeerHandlers } from '../wire/load.ts';
import type { Backend } from './backend.ts';
import { cgroupParentFileOf, Cgroups, parseHierarchies } from './cgroups.ts';
import { Checkpoints } from './checkpoint/checkpoints.ts';
import { cpuFeatures } from './checkpoint/cut.ts';
import type { Probe } from './checkpoint/engine.ts';
import { serveImage } from './checkpoint/image-transfer.ts';
import type { AgentConfig } from './config.ts';
import { parseUidList } from './credentials.ts';
import { featuresOf } from './features.ts';
import { isOnNode } from './host-root.ts';
import { findTopology } from './hwloc.ts';
import { InputSpools } from './input.ts';
import { JobTree } from './job-tree.ts';
import { LocalSocket } from './local-socket.ts';
import { Moves } from './migration/moves.ts';
import { trackerTrouble } from './migration/copier.ts';
import { pagerTrouble } from './migration/pager.ts';
import { capacityOf } from './monitor/capacity.ts';
import { Monitor } from './monitor/monitor.ts';
import { clusterNamedBy, clusterOfAuthority } from '../wire/authority-name.ts';
import { sealedPortOf, tunnelPortOf } from '../wire/tunnel-port.ts';
import { JobNetwork } from './network/job-network.ts';
import { networkKeyIn } from './network/network-key.ts';
import { networkTroubles } from './network/troubles.ts';
import { underlayOf } from './network/underlay.ts';
import { OutboundFacts } from './outbound-facts.ts';
import { OutputSpool } from './output.ts';
import { PmiSockets } from './pmi-port.ts';
import { bootId } from './process-table.ts';
import { ProcessorLedger } from './processors.ts';
import { serveStream } from './remote-stream.ts';
import { keyOf } from './sandbox-id.ts';
import { Sandboxes } from './sandboxes.ts';
import { Rest } from './rest.ts';
import { HubSession } from './session.ts';
import { readTls } from './tls.ts';
import { readTopology } from './topology.ts';
import { AgentTraces } from './traces.ts';

/** The hub waits 10 s for a stream that it asked for. */
const sandboxWithinMs = 5000;

/** Runs until `signal` aborts. Ranks run on; the next agent on the same state directory takes them over. */
export async function runAgent(config: AgentConfig, signal: AbortSignal): Promise<void> {
  const native = loadNative();
  parseUidList(config.nodeConfig.allowedUids);
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const lock = openSync(`${config.stateDir}/lock`, 'a', 0o600);
  await using giving = new AsyncDisposableStack();
  giving.defer(() => {
    closeSync(lock);
  });
  if (!native.flock(lock)) {
    throw new Error(
      `MUSTER_SECOND_AGENT: another agent of node ${config.node} runs on ${config.stateDir}; stop it first`,
    );
  }
  native.setChildSubreaper();
  const { log, backend } = { log: config.logger, backend: await makeBackend(config, giving, signal) };
  await backend.tree.listen(config.peerHost, config.peerPort);

  const traces = config.trace && new AgentTraces(config.trace, config.node);
  const sandboxes = new Sandboxes(backend, {
    changed: (id) => {
      outbound.changed(id);
      const sandbox = traces ? sandboxes.find(id) : null;
      if (sandbox) traces?.look(sandbox);
    },
    forgotten: (id) => {
      outbound.forgotten(id);
      traces?.forget(keyOf(id));
    },
    event: (id, type, reason, message) => {
      session.send({ event: { id, type, reason, message } });
    },
    leaseWanted: () => {
      session.beat();
    },
  });
  const outbound = new OutboundFacts(sandboxes, backend.checkpoints.keeper, (facts) => {
    session.send({ facts });
  });
  const { checkpoints } = backend;
  const { nativeDir } = config;
  const pages = { pagerTrouble: pagerTrouble(nativeDir), trackerTrouble: trackerTrouble(nativeDir) };
  const featuresWith = (engine: Probe) => {
    const own = featuresOf(backend.agentUid, backend.cgroups, backend.networkTroubles, engine, pages);
    const storages = checkpoints.storageFeatures();
    return {
      features: [...own.features, ...storages.features],
      missing: [...own.missing, ...storages.missing],
    };
  };
  let features = featuresWith(await checkpoints.probe());
  checkpoints.listeners.add((engine) => {
    features = featuresWith(engine);
    log.info({ missing: features.missing }, 'what the node can do has changed');
    session.renew();
  });
  const instance = randomUUID();
  const underlay = backend.network ? await underlayOf(native, backend.address) : { mtu: 0, routes: [] };
  const monitor = new Monitor({
    sandboxes,
    stateDir: config.stateDir,
    node: config.node,
    nodeConfig: config.nodeConfig,
    build: config.build,
    engineTrouble: async () => {
      if ((config.criu ?? '') === '') return undefined;
      const { version, why } = await backend.checkpoints.probe();
      return version === null ? why : null;
    },
    paths: [...new Set([config.stateDir, '/', ...config.nodeConfig.binds.map(({ source }) => source)])],
    log,
    report: (report) => {
      session.send({ report });
    },
  });
  const session = new HubSession({
    wire: backend.wire,
    tls: backend.tls,
    addresses: config.hubAddresses,
    serverName: config.hubServerName ?? '',
    log,
    hello: () => ({
      node: config.node,
      instance,
      bootId: backend.bootId,
      build: config.build,
      capacity: capacityOf(backend.topology),
      peerAddress: endpointOf(backend.address, backend.tree.port),
      localSocket: config.localSocket,
      labels: { ...config.labels },
      ...features,
      underlayMtu: underlay.mtu,
      networkKey: backend.networkKey,
      routes: underlay.routes,
      cpuFeatures: cpuFeatures(),
    }),
    load: () => monitor.load(),
    events: {
      opened: (_cluster, hubBuild) => {
        monitor.hubBuild = hubBuild;
        outbound.open();
      },
      closed: () => {
        monitor.closed();
        outbound.close();
      },
      desired: (desired) => {
        rest.begin();
        sandboxes.desire(desired);
        backend.checkpoints.keeper.desire(desired.images);
        outbound.touched();
      },
      verb: async (verb) => {
        const sandbox = sandboxes.find(verb.id);
        if (!sandbox)
          return {
            ok: false,
            reached: 0,
            message: `MUSTER_NO_SANDBOX: node ${config.node} does not hold the sandbox`,
          };
        return { ok: true, ...(await sandbox.carryOut(verb)) };
      },
      monitor: (order) => {
        monitor.order(order);
      },
      query: (query) => monitor.answer(query),
      acknowledged: (sentMs, hubMs) => {
        monitor.clock.answered(sentMs, hubMs);
      },
      granted: (ids, sentNs) => {
        for (const id of ids) sandboxes.find(id)?.granted(sentNs);
      },
      shown: ({ id, positions }) => {
        sandboxes.find(id)?.shown(positions);
      },
      openStream: (order, client) => {
        void sandboxes.whenThere(order.id, sandboxWithinMs).then((sandbox) => {
          serveStream(order, sandbox, client, log, signal);
        });
      },
    },
  });
  giving.defer(async () => {
    await session.stop();
    monitor.stop();
    sandboxes.stop();
    await sandboxes.sweepNetworks();
    backend.cgroups?.close();
  });
  await sandboxes.recover();
  backend.checkpoints.keeper.sweep(sandboxes.imagesInWork);
  backend.moves.transit.sweep(sandboxes.moving);
  if (config.localSocket !== '') {
    const local = new LocalSocket(config.localSocket, native, sandboxes, backend.output, log);
    giving.defer(() => {
      local.close();
    });
  }
  monitor.start();
  if (config.metrics) {
    const { AgentRegistry } = await import('./metrics/agent-registry.ts');
    const { startMetricsServer } = await import('./metrics/metrics-server.ts');
    const registry = new AgentRegistry(monitor, sandboxes);
    const { contentType } = registry;
    const text = () => registry.text();
    const server = await startMetricsServer({ ...config.metrics, tls: backend.tls, contentType, text });
    giving.use(server);
    log.info({ host: config.metrics.host, port: server.port }, 'metrics are served');
  }
  using rest = new Rest(native, () => sandboxes.running === 0);
  rest.begin();
  session.start();
  checkpoints.watch(signal);
  log.info({ node: config.node, peer: backend.tree.port, missing: features.missing }, 'agent runs');
  await aborted(signal);
  log.info({ node: config.node }, 'agent stops; ranks run on');
}

async function makeBackend(
  config: AgentConfig,
  giving: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<Backend> {
  const native = loadNative();
  const wire = loadWire(config.protoPath);
  const agentUid = process.geteuid?.() ?? 0;
  const output = giving.adopt(new OutputSpool(native, config.logger), (each) => {
    each.close();
  });
  const input = giving.adopt(new InputSpools(native), (each) => {
    each.close();
  });
  const pmi = giving.adopt(new PmiSockets(native), (each) => {
    each.close();
  });
  const tls = readTls(config.tls);
  const checkpoints = new Checkpoints(native, wire, tls, config);
  const moves = new Moves(config, { native, tls, host: config.peerHost }, config.logger);
  const others: Omit<PeerHandlers, 'tree'> = {
    image: (call) => void serveImage(checkpoints.images, call),
    leaver: (call) => void moves.serve(call),
    pages: (call) => {
      moves.servePages(call);
    },
  };
  const tree = giving.adopt(new JobTree(wire, tls, config.logger, others), (each) => {
    each.close();
  });
  const topology = readTopology();
  const address = config.address ?? config.peerHost;
  const clusterId = clusterOfAuthority(tls.ca);
  const named = clusterNamedBy(tls.ca);
  const port = named === undefined ? null : tunnelPortOf(named);
  const troubles = await networkTroubles(native, agentUid, address, port);
  const key = troubles.encryption === null ? networkKeyIn(`${config.stateDir}/network-key`) : undefined;
  const network =
    troubles.isolated === null
      ? giving.use(
          new JobNetwork(native, {
            clusterId,
            node: config.node,
            underlay: address,
            seal: key && { key, port: sealedPortOf(clusterId) },
          }),
        )
      : null;
  return {
    config,
    log: config.logger,
    native,
    wire,
    tls,
    topology,
    hwloc: findTopology(config.logger, signal),
    processors: new ProcessorLedger(topology),
    cgroups: agentUid === 0 ? findCgroups(config) : null,
    checkpoints,
    moves,
    output,
    input,
    pmi,
    tree,
    network,
    networkTroubles: troubles,
    networkKey: key?.publicKey ?? '',
    address,
    agentUid,
    bootId: bootId(),
    nowMs: () => Date.now(),
  };
}

function findCgroups(config: AgentConfig): Cgroups | null {
  const hierarchies = parseHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (hierarchies.length === 0) return null;
  const { cgroupParent } = config.nodeConfig;
  writeFileSync(cgroupParentFileOf(config.stateDir), cgroupParent); // for whoever sweeps up after the agent
  return new Cgroups(hierarchies, cgroupParent, config.stateDir, config.node, !isOnNode('/'));
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
}
