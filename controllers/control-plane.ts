/**
 * Composes store, hub and controllers to a control plane that runs until it is told to stop. It reads no environment, no
 * files and no command line; whoever starts it hands in all of that.
 */
import type { Logger } from 'pino';
import { NetworkClaims } from './network/claims.ts';
import { ClusterRanges } from './network/cluster-ranges.ts';
import { networkPoolOf } from './network/pool.ts';
import { isTrue } from '../crds/conditions.ts';
import type { Checkpoint, Migration, NodeMonitor, ProcessGroup } from '../crds/types.gen.ts';
import type { KubernetesObject, ObjectStore } from '../store/object-store.ts';
import type { Trace } from '../wire/trace.ts';
import { CarrierBook } from './carrier/book.ts';
import type { CarrierPolicy } from './carrier/gang.ts';
import type { CarrierImage } from './carrier/pod.ts';
import { keepersOf } from './checkpoint/observe.ts';
import { removeOrphans } from './checkpoint/orphans.ts';
import { CheckpointReconciler } from './checkpoint/reconcile.ts';
import { Saves } from './checkpoint/saves.ts';
import { cutStateOf, isDone } from './checkpoint/seen.ts';
import { ClientLeaseBook } from './client-lease.ts';
import { Hub, type HubTls } from './hub/hub.ts';
import { MigrationReconciler } from './migration/reconcile.ts';
import { isMoveDone, moveStateOf } from './migration/seen.ts';
import { couldNotMove, drainedSinceMs } from './node-monitor/drain.ts';
import { offersOf } from './node-monitor/offers.ts';
import { KubeNodes } from './node-monitor/kube-nodes.ts';
import { monitorOrderOf } from './node-monitor/monitor-order.ts';
import { measuredEveryMs, NodeMonitorReconciler } from './node-monitor/reconcile.ts';
import { Tenants } from './node-monitor/tenants.ts';
import { Treatments } from './node-monitor/treatments.ts';
import type { NodeOffer } from './placement/place.ts';
import type { GroupSecrets } from './process-group/perform.ts';
import type { PlaneMetrics } from './plane-metrics.ts';
import { PlaneTraces } from './plane-traces.ts';
import { ProcessGroupReconciler } from './process-group/reconcile.ts';
import { assignmentsOf } from './process-group/observe.ts';
import { checkpointType, migrationType, nodeMonitorType, processGroupType } from './resource-types.ts';
import { ByGroup, groupKeyOf } from './runtime/by-group.ts';
import { systemClock, type Clock } from './runtime/clock.ts';
import { EventRecorder } from './runtime/event-recorder.ts';
import { runReconciler } from './runtime/manager.ts';
import { ObjectSource, pause } from './runtime/object-source.ts';
import { keyOf, type Key } from './runtime/reconciler.ts';
import { WatchedStore } from './runtime/watched-store.ts';
import { WorkQueue } from './runtime/work-queue.ts';
import { UnknownSandboxes, type DoubtfulStore } from './unknown-sandboxes.ts';

export interface ControlPlaneOptions {
  readonly store: ObjectStore;
  /** Asking the store is a way over the network: what is watched of it is read from memory. */
  readonly isRemote?: boolean;
  /** The same store, where it can tell that objects may be missing from it. */
  readonly doubtful?: DoubtfulStore;
  /** `host:port` that agents dial; port 0 takes a free one. */
  readonly hubListen: string;
  readonly tls: HubTls;
  readonly clusterId: string;
  /** Version of this program, told to agents. */
  readonly build?: string;
  readonly secrets: GroupSecrets;
  readonly logger: Logger;
  /** Where spans of what comes about go. */
  readonly trace?: Trace;
  /** Counts what happens while this plane leads. */
  readonly metrics?: PlaneMetrics;
  readonly clock?: Clock;
  readonly leaseMs?: number;
  readonly heartbeatSeconds?: number;
  readonly clientLeaseMs?: number;
  /** Of groups that may be started elsewhere when a node is silent. */
  readonly nodeLeaseSeconds?: number;
  /** Whether this replica leads at this very moment, by its own clock; absent: always. */
  readonly leads?: () => boolean;
  readonly protoPath?: string;
  /** Of groups that do not say; default Isolated, where their nodes can. */
  readonly network?: 'Isolated' | 'Host';
  /** Of the tunnels between nodes; absent: none. */
  readonly networkEncryption?: 'WireGuard';
  /** In which addresses sandboxes have; default IPv4. */
  readonly networkFamilies?: 'IPv4' | 'DualStack';
  /** Where job networks get their addresses from, as ADDRESS/LENGTH. */
  readonly networkPool?: string;
  /** What job networks never cross, as ADDRESS/LENGTH; on Kubernetes beside the addresses of Services and Pods. */
  readonly reservedRanges?: readonly string[];
  /** On Kubernetes: the image by which carrier Pods of groups with a template get the program that waits in them. */
  readonly carriers?: CarrierImage & { readonly policy?: Partial<CarrierPolicy> };
  /** On Kubernetes: NodeMonitors follow the cluster's Nodes. */
  readonly followNodes?: boolean;
  /** Told of each step of a protocol, before it is written, once it is, and once agents are told: for tests. */
  readonly reached?: (point: string) => void;
  /** Where Leases of the controllers are; default: default. */
  readonly namespace?: string;
}

export interface ControlPlane extends AsyncDisposable {
  readonly hub: Hub;
  readonly clientLeases: ClientLeaseBook;
  readonly unknown: UnknownSandboxes;
  /** A new group is on its way to the disk: it is placed meanwhile. */
  foresee(group: ProcessGroup): void;
  /** Settles when all that the store held has been looked at once. */
  readonly ready: Promise<void>;
  /** Settles when everything has stopped. */
  readonly stopped: Promise<void>;
  close(): Promise<void>;
}

const parallelGroups = 16;
const nodesWithinMs = 10_000;

/** Several of them are to fit into a lease. */
const heartbeatSecondsFor = (leaseSeconds = Infinity): number =>
  Math.min(5, Math.max(1, Math.floor(leaseSeconds / 4)));

export async function runControlPlane(
  options: ControlPlaneOptions,
  signal: AbortSignal,
): Promise<ControlPlane> {
  const { logger, clusterId, secrets, metrics, clock = systemClock } = options;
  const watched =
    options.isRemote === true
      ? new WatchedStore(options.store, [processGroupType, checkpointType, migrationType])
      : undefined;
  const store = watched ?? options.store;
  const traces = options.trace && new PlaneTraces(options.trace, clock);
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const groupQueue = new WorkQueue(clock);
  const nodeQueue = new WorkQueue(clock);
  const checkpointQueue = new WorkQueue(clock);
  const migrationQueue = new WorkQueue(clock);
  const events = new EventRecorder(store, clock, logger);
  const leases = new ClientLeaseBook(clock, options.clientLeaseMs);
  const waiting = new Set<Key>();
  const checkpointsByGroup = new ByGroup<Checkpoint>();
  const migrationsByGroup = new ByGroup<Migration>();

  const groups = new ObjectSource<ProcessGroup>({
    store, clock, logger,
    type: processGroupType,
    changed: (key, after, before) => {
      if (after && isUnplaced(after)) waiting.add(key);
      else waiting.delete(key);
      // Thousands that have long ended are not to hold up the others when these are listed.
      if (after && !before && isOver(after)) groupQueue.addLate(key);
      else groupQueue.add(key);
      checkpointsOf(key);
      tenants.changed(before, after);
      migrationsOf(key);
      metrics?.groupChanged(after, before);
      traces?.groupChanged(after, before);
    },
  }); // prettier-ignore
  const checkpoints = new ObjectSource<Checkpoint>({
    store, clock, logger,
    type: checkpointType,
    changed: (key, after, before) => {
      checkpointQueue.add(key);
      checkpointsByGroup.changed(key, after, before);
      metrics?.checkpointChanged(after, before);
      traces?.checkpointChanged(after);
      const object = after ?? before;
      if (!object) return;
      const group = groupKeyOf(object);
      groupQueue.add(group);
      checkpointsOf(group);
      migrationsOf(group);
    },
  }); // prettier-ignore
  const migrations = new ObjectSource<Migration>({
    store, clock, logger,
    type: migrationType,
    changed: (key, after, before) => {
      migrationQueue.add(key);
      migrationsByGroup.changed(key, after, before);
      tenants.lookAll();
      metrics?.migrationChanged(after, before);
      traces?.migrationChanged(after);
      const object = after ?? before;
      if (!object) return;
      if (carriers) groupQueue.add(groupKeyOf(object)); // a drain may have to save it now
      checkpointsOf(groupKeyOf(object));
      migrationsOf(groupKeyOf(object));
    },
  }); // prettier-ignore
  /** Those of a group that are not done. */
  const migrationsOf = (group: Key): void => {
    for (const [key, migration] of migrationsByGroup.of(group))
      if (!isMoveDone(moveStateOf({ migration }))) migrationQueue.add(key);
  };
  /** Those of a group that are not done. */
  const checkpointsOf = (group: Key): void => {
    for (const [key, checkpoint] of checkpointsByGroup.of(group))
      if (!isDone(cutStateOf({ checkpoint }))) checkpointQueue.add(key);
  };
  const offersChanged = (): void => {
    for (const key of waiting) groupQueue.add(key);
  };
  const monitors = new ObjectSource<NodeMonitor>({
    store, clock, logger,
    type: nodeMonitorType,
    changed: (key, after, before) => {
      nodeQueue.add(key);
      treatments.look(key);
      hub.watchNode(key, after && monitorOrderOf(after));
      if (!sameLabels(after, before)) offersChanged();
    },
  }); // prettier-ignore

  watched?.watched(processGroupType, groups.objects);
  watched?.watched(checkpointType, checkpoints.objects);
  watched?.watched(migrationType, migrations.objects);
  watched?.watched(nodeMonitorType, monitors.objects);

  const kubeNodes = options.followNodes
    ? new KubeNodes({
        store, clock, logger,
        changed: (node) => {
          for (const each of node === '' ? monitors.objects.keys() : [node]) {
            nodeQueue.add(each);
            treatments.look(each);
          }
        },
      }) // prettier-ignore
    : undefined;
  const kubeNode =
    kubeNodes && ((name: string, monitor: NodeMonitor | undefined) => kubeNodes.of(name, monitor));
  const treatments = new Treatments({
    monitors: monitors.objects,
    ...(kubeNode ? { kubeNode } : {}),
    changed: (node) => {
      nodeQueue.add(node);
      offersChanged();
      for (const key of groupsOn(node, groups.objects)) groupQueue.add(key);
      for (const key of checkpoints.objects.keys()) checkpointQueue.add(key);
    },
  });
  const tenants = new Tenants({
    groups: groups.objects,
    migrationObjects: migrations.objects,
    checkpoints: checkpoints.objects,
    isDrained: (node) => treatments.of(node).drain !== undefined,
    hub: () => hub,
    look: (node) => nodeQueue.add(node),
  });

  const standings = new Map<string, string>();
  const hub = await Hub.start({
    listen: options.hubListen,
    tls: options.tls,
    clusterId,
    ...(options.build === undefined ? {} : { build: options.build }),
    clock,
    logger,
    ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
    heartbeatSeconds: options.heartbeatSeconds ?? heartbeatSecondsFor(options.nodeLeaseSeconds),
    ...(options.leads === undefined ? {} : { leads: options.leads }),
    ...(options.protoPath === undefined ? {} : { protoPath: options.protoPath }),
    groupChanged: (uid) => {
      const key = reconciler.keyOf(uid);
      if (key === undefined) return;
      groupQueue.add(key);
      checkpointsOf(key);
      migrationsOf(key);
    },
    imagesChanged: (uid) => {
      const key = checkpointer.keyOf(uid);
      if (key !== undefined) checkpointQueue.add(key);
      tenants.lookAll();
      offersChanged();
    },
    nodeChanged: (node) => {
      nodeQueue.add(node);
      const standing = hub.nodes.standing(node);
      if (standings.get(node) === standing) return;
      standings.set(node, standing);
      offersChanged();
      for (const key of groupsOn(node, groups.objects)) groupQueue.add(key);
      for (const key of checkpoints.objects.keys()) checkpointQueue.add(key);
      for (const [key, migration] of migrations.objects)
        if (!isMoveDone(moveStateOf({ migration }))) migrationQueue.add(key);
    },
    nodeMeasured: (node) => nodeQueue.addAfter(node, measuredEveryMs(hub.connectedNodes)),
    agentEvent: (_node, event) => {
      const key = event.id ? reconciler.keyOf(event.id.groupUid) : undefined;
      const group = key === undefined ? undefined : groups.objects.get(key);
      const type = event.type === 'Warning' ? 'Warning' : 'Normal';
      if (group) events.record(group, { type, reason: event.reason, message: event.message });
    },
  });
  const unknown = new UnknownSandboxes({
    hub, clock, logger,
    store: options.doubtful,
    trusted: offersChanged,
  }); // prettier-ignore
  const ranges = new ClusterRanges({
    clock, logger,
    given: options.reservedRanges ?? [],
    ...(kubeNodes ? { cluster: { store, podRanges: () => kubeNodes.podRanges() } } : {}),
  }); // prettier-ignore
  const networks = new NetworkClaims({
    store, logger,
    reserved: (each) => ranges.all(each),
    pool: networkPoolOf(clusterId, options.networkPool),
    namespace: options.namespace ?? 'default',
  }); // prettier-ignore
  const carriers =
    options.carriers &&
    new CarrierBook({
      store, clock, logger,
      waiter: options.carriers,
      // Kubernetes may still use a node whose agent has long been silent: nothing would come of a Pod there.
      avoided: () => [
        ...treatments.ownCordons(),
        ...[...monitors.objects.keys()].filter((node) => hub.nodes.standing(node) === 'Lost'),
      ],
      ...(options.carriers.policy === undefined ? {} : { policy: options.carriers.policy }),
      changed: (uid) => {
        const key = reconciler.keyOf(uid);
        if (key === undefined) return;
        groupQueue.add(key);
        migrationsOf(key);
      },
    }); // prettier-ignore
  const offers = (exceptUid: string): NodeOffer[] =>
    offersOf({
      monitors: monitors.objects,
      treatment: (node) => treatments.of(node),
      states: hub.nodes.all(),
      standing: (node) => hub.nodes.standing(node),
      silentMs: (node) => hub.nodes.silentMs(node),
      ranksOn: (node) => hub.desired.ranksOn(node, exceptUid),
    });
  const saves = new Saves({
    checkpoints: checkpoints.objects,
    ofGroup: (group) => checkpointsByGroup.of(keyOf(group)).values(),
    hub: () => hub,
  });
  const reconciler = new ProcessGroupReconciler({
    saves,
    store, hub, clock, leases, events, secrets, clusterId, logger, networks,
    ...(options.network === undefined ? {} : { defaultNetwork: options.network }),
    ...(options.networkEncryption === undefined ? {} : { networkEncryption: options.networkEncryption }),
    ...(options.networkFamilies === undefined ? {} : { networkFamilies: options.networkFamilies }),
    ...(options.nodeLeaseSeconds === undefined ? {} : { nodeLeaseSeconds: options.nodeLeaseSeconds }),
    ...(carriers === undefined ? {} : { carriers }),
    drains: {
      treatment: (node) => treatments.of(node),
      couldNotMove: (group, node) => {
        const sinceMs = drainedSinceMs(monitors.objects.get(node), clock.now());
        return couldNotMove(group, { node, sinceMs, migrations: [...migrationsByGroup.of(keyOf(group)).values()] });
      },
      keepers: () => keepersOf(hub),
    },
    reasonToWait: (group) => unknown.reasonToWait(group),
    keepsVanished: (key, uid) => unknown.keepsVanished(key, uid),
    offers,
  }); // prettier-ignore

  const checkpointer = new CheckpointReconciler({
    store, hub, clock, events, logger,
    ...(options.reached === undefined ? {} : { reached: options.reached }),
    groups: groups.objects,
    checkpoints: checkpoints.objects,
    isDrained: (node) => treatments.of(node).drain !== undefined,
    groupChanged: (uid) => {
      const key = reconciler.keyOf(uid);
      if (key !== undefined) groupQueue.add(key);
    },
  }); // prettier-ignore

  const mover = new MigrationReconciler({
    store, hub, clock, events, logger, offers,
    ...(carriers === undefined ? {} : { carriers }),
    ...(options.reached === undefined ? {} : { reached: options.reached }),
    groups: groups.objects,
    checkpoints: checkpoints.objects,
    migrations: migrations.objects,
    groupChanged: (key) => {
      groupQueue.add(key);
      checkpointsOf(key);
    },
  }); // prettier-ignore

  metrics?.leads({
    groups: () => groups.objects.values(),
    monitors: () => monitors.objects.values(),
    standings: () => [...hub.nodes.all()].map(({ node }) => hub.nodes.standing(node)),
    queues: () => [
      ['process-group', groupQueue.size.dirty],
      ['node-monitor', nodeQueue.size.dirty],
      ['checkpoint', checkpointQueue.size.dirty],
      ['migration', migrationQueue.size.dirty],
    ],
    droppedFacts: () => hub.droppedFacts,
  });
  const watchedBy = (controller: string) => (metrics ? { watched: () => metrics.visit(controller) } : {});
  const first = new FirstRound(groups);
  const firstMoves = new FirstRound(migrations);
  const started = [
    ...(carriers ? [carriers.run(both)] : []),
    monitors.run(both),
    migrations.run(both),
    ...(kubeNodes ? [kubeNodes.run(both)] : []),
    groups.run(both),
    runReconciler(
      {
        reconciler,
        queue: groupQueue,
        parallel: parallelGroups,
        logger,
        visited: (key) => first.visited(key),
        ...watchedBy('process-group'),
      },
      both,
    ),
    runReconciler(
      {
        reconciler: new NodeMonitorReconciler({
          store, clock, events, tenants,
          nodes: hub.nodes,
          loadEveryMs: () => measuredEveryMs(hub.connectedNodes),
          ...(kubeNode ? { kubeNode } : {}),
          tidy: (monitor, stop) => removeOrphans({ store, hub }, monitor, stop),
        }), // prettier-ignore
        queue: nodeQueue,
        parallel: 4,
        logger,
        ...watchedBy('node-monitor'),
      },
      both,
    ),
    checkpoints.run(both),
    // What is not listed yet is not gone.
    Promise.all([groups.listed, checkpoints.listed]).then(() =>
      runReconciler(
        {
          reconciler: checkpointer,
          queue: checkpointQueue,
          parallel: 4,
          logger,
          ...watchedBy('checkpoint'),
        },
        both,
      ),
    ),
    // Agents are told of moves once they are told of groups.
    Promise.race([Promise.all([checkpoints.listed, migrations.listed, first.done]), aborted(both)]).then(() =>
      runReconciler(
        {
          reconciler: mover,
          queue: migrationQueue,
          parallel: 4,
          logger,
          visited: (key) => firstMoves.visited(key),
          ...watchedBy('migration'),
        },
        both,
      ),
    ),
  ];
  void Promise.all([groups.listed, migrations.listed, checkpoints.listed]).then(() => tenants.known());
  // Controllers that may not look at Nodes are not to stand still for it.
  const looked = kubeNodes ? Promise.race([kubeNodes.listed, pause(clock, nodesWithinMs, both)]) : undefined;
  void Promise.all([monitors.listed, looked]).then(() => {
    treatments.known();
    offersChanged();
  });
  const ready = Promise.all([monitors.listed, groups.listed]).then(async () => {
    for (const group of groups.objects.values())
      for (const { node } of assignmentsOf(group)) hub.nodes.expect(node);
    for (const node of monitors.objects.keys()) hub.nodes.expect(node);
    await first.done;
    await Promise.race([firstMoves.done, aborted(both)]);
    if (both.aborted) return;
    unknown.listed(groups.objects.values(), both);
    if (unknown.doubt !== undefined) return;
    await networks.keepOnly(needsNetwork(groups.objects.values()), both).catch((error: unknown) => {
      if (!both.aborted) logger.warn({ err: error }, 'networks of groups that are gone are not given back');
    });
  });
  let isReady = false; // not while what the store held is being told apart
  void ready.then(
    () => (isReady = true),
    () => undefined,
  );
  const stopped = Promise.all(started).then(async () => {
    metrics?.leads(undefined);
    events[Symbol.dispose]();
    await hub.close();
  });
  const close = async (): Promise<void> => {
    stop.abort();
    await stopped;
  };
  return {
    hub,
    clientLeases: leases,
    unknown,
    foresee: (group) => {
      if (isReady && !both.aborted) reconciler.foresee(group, both);
    },
    ready,
    stopped,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Every object that the first list showed has been visited without a failure; what is gone is visited too. */
class FirstRound<T extends KubernetesObject> {
  readonly #visited = new Set<Key>();
  readonly #done = Promise.withResolvers<void>();
  #left: Set<Key> | undefined;

  constructor(source: ObjectSource<T>) {
    void source.listed.then(() => {
      this.#left = new Set([...source.objects.keys()].filter((key) => !this.#visited.has(key)));
      this.#visited.clear();
      this.#check();
    });
  }

  get done(): Promise<void> {
    return this.#done.promise;
  }

  visited(key: Key): void {
    if (!this.#left) this.#visited.add(key);
    else if (this.#left.delete(key)) this.#check();
  }

  #check(): void {
    if (this.#left?.size === 0) this.#done.resolve();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Groups that have not ended. */
function needsNetwork(groups: Iterable<ProcessGroup>): (uid: string) => boolean {
  const needing = new Set(
    [...groups].filter(({ status }) => status?.finishTime === undefined).map(({ metadata }) => metadata.uid),
  );
  return (uid) => needing.has(uid);
}

function isUnplaced({ status, metadata }: ProcessGroup): boolean {
  if (metadata.deletionTimestamp !== undefined || status?.placement !== undefined) return false;
  return !isTrue(status?.conditions, 'Failed') && !isTrue(status?.conditions, 'Succeeded');
}

/** It has ended, and nothing of it is to be done but by the clock. */
const isOver = ({ status, metadata }: ProcessGroup): boolean =>
  status?.finishTime !== undefined && metadata.deletionTimestamp === undefined;

function* groupsOn(node: string, groups: ReadonlyMap<Key, ProcessGroup>): Generator<Key> {
  for (const [key, group] of groups) {
    if (!isOver(group) && assignmentsOf(group).some((assignment) => assignment.node === node)) yield key;
  }
}

function sameLabels(a: NodeMonitor | undefined, b: NodeMonitor | undefined): boolean {
  return JSON.stringify(a?.metadata.labels ?? {}) === JSON.stringify(b?.metadata.labels ?? {});
}
