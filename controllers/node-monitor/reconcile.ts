/**
 * The NodeMonitor controller: makes the object when an agent registers, has the groups of a drained node leave it, and writes what agents
 * say of themselves: at once when it matters, load at a bounded rate. It never writes a spec.
 */
import { isDeepStrictEqual } from 'node:util';
import { apiVersion } from '../../crds/objects.ts';
import { labels } from '../../crds/names.ts';
import type { NodeMonitor, NodeMonitorStatus } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { NodeTable } from '../hub/node-table.ts';
import { nodeMonitorType } from '../resource-types.ts';
import type { Clock } from '../runtime/clock.ts';
import type { EventRecorder } from '../runtime/event-recorder.ts';
import { settled, type Key, type Outcome, type Reconciler } from '../runtime/reconciler.ts';
import { calledOff, drainedSinceMs, drainPlanOf, type DrainPlan } from './drain.ts';
import { followPatch } from './kube-nodes.ts';
import { performDrain } from './perform.ts';
import { nodeStatusOf, urgentPartOf } from './status.ts';
import { drainEventsOf } from './transition-events.ts';
import type { Tenants } from './tenants.ts';
import { treatmentOf, type KubeNode, type Treatment } from './treatment.ts';

export interface NodeMonitorPorts {
  readonly store: ObjectStore;
  readonly nodes: NodeTable;
  readonly clock: Clock;
  readonly events: EventRecorder;
  /** Who is on the node. */
  readonly tenants: Tenants;
  /** Its Node on Kubernetes. */
  readonly kubeNode?: (name: string, monitor: NodeMonitor) => KubeNode | 'Deleted' | undefined;
  readonly loadEveryMs?: () => number;
  /** Looks after what a node has and nobody needs; how long until it is to look again. */
  readonly tidy?: (monitor: NodeMonitor, signal: AbortSignal) => Promise<number | undefined>;
}

const knownWithinMs = 200;

/** Figures alone are written this often: each half minute, and with very many nodes so that all together make 10 a second. */
export const measuredEveryMs = (nodes: number): number => Math.max(30_000, nodes * 100);

export class NodeMonitorReconciler implements Reconciler {
  readonly name = 'node-monitor';
  readonly #ports: NodeMonitorPorts;
  readonly #writtenMs = new Map<string, number>();

  constructor(ports: NodeMonitorPorts) {
    this.#ports = ports;
  }

  async reconcile(key: Key, signal: AbortSignal): Promise<Outcome> {
    const { store, nodes, clock, tenants, events } = this.#ports;
    const loadEveryMs = this.#ports.loadEveryMs?.() ?? measuredEveryMs(1);
    const state = nodes.get(key);
    const found =
      (await this.#read(key, signal)) ?? (state?.connected ? await this.#create(key, signal) : undefined);
    if (!found) return settled;
    nodes.expect(key);
    const node = this.#ports.kubeNode?.(key, found);
    const monitor = node === undefined ? found : await this.#follow(found, node, signal);
    if (!monitor) return settled;
    const treatment = treatmentOf(monitor, node);
    tenants.watch(key, treatment.drain !== undefined || node === 'Deleted');
    // An empty node may only seem so.
    if (treatment.drain && !tenants.isKnown) return { kind: 'again', afterMs: knownWithinMs };
    const drain = await this.#drain(monitor, treatment, signal);
    const tidyMs = (await this.#ports.tidy?.(monitor, signal)) ?? Infinity;
    const seen = {
      monitor,
      state,
      treatment,
      drain,
      standing: nodes.standing(key),
      silentMs: nodes.silentMs(key),
      nowMs: clock.now(),
    };
    const againMs = Math.min(drain?.againAfterMs ?? Infinity, tidyMs);
    const again: Outcome = againMs === Infinity ? settled : { kind: 'again', afterMs: Math.ceil(againMs) };
    const status = plain(nodeStatusOf(seen)) as NodeMonitorStatus;
    if (isDeepStrictEqual(status, plain(monitor.status))) return again;
    const waitMs = (this.#writtenMs.get(key) ?? -loadEveryMs) + loadEveryMs - clock.steady();
    const urgent = !isDeepStrictEqual(plain(urgentPartOf(status)), plain(urgentPartOf(monitor.status)));
    // Whoever waits until a node is empty is not to wait for the next round.
    const emptied = status.sandboxes?.count === 0 && (monitor.status?.sandboxes?.count ?? 0) > 0;
    if (!urgent && !emptied && waitMs > 0) return { kind: 'again', afterMs: Math.min(waitMs, againMs) };
    this.#writtenMs.set(key, clock.steady());
    await store.updateStatus<NodeMonitor>(nodeMonitorType, { ...monitor, status }, signal);
    for (const note of drainEventsOf(monitor.status, status)) events.record(monitor, note);
    return again;
  }

  /** Undefined when it is gone: one whose Node is deleted goes too, once nothing can be on it any more. */
  async #follow(
    monitor: NodeMonitor,
    node: KubeNode | 'Deleted',
    signal: AbortSignal,
  ): Promise<NodeMonitor | undefined> {
    const { store, tenants, nodes, events } = this.#ports;
    const { name, uid } = monitor.metadata;
    if (node !== 'Deleted') {
      const patch = followPatch(monitor, node);
      if (!patch) return monitor;
      return store.patch<NodeMonitor>(nodeMonitorType, { name }, patch, undefined, signal);
    }
    const isAway = nodes.standing(name) === 'Lost' || nodes.get(name)?.left === true;
    if (!isAway || !tenants.isKnown || tenants.groupsOn(name).length > 0) return monitor;
    try {
      await store.delete(nodeMonitorType, { name }, { preconditions: { uid } }, signal);
    } catch (error) {
      if (!isStoreError(error, 'NotFound')) throw error;
    }
    events.drop(uid ?? '');
    return undefined;
  }

  async #drain(
    monitor: NodeMonitor,
    { drain }: Treatment,
    signal: AbortSignal,
  ): Promise<DrainPlan | undefined> {
    const { tenants, clock } = this.#ports;
    const node = monitor.metadata.name;
    for (const migration of calledOff(tenants.migrations(), node, drain?.policy))
      await performDrain({ kind: 'deleteMigration', migration }, monitor, this.#ports, signal);
    if (!drain) return undefined;
    const nowMs = clock.now();
    const plan = drainPlanOf({
      node,
      policy: drain.policy,
      nowMs,
      sinceMs: drainedSinceMs(monitor, nowMs),
      groups: tenants.groupsOn(node),
      migrations: tenants.migrations(),
      strays: tenants.straysOn(node),
      loneImages: tenants.loneImagesOn(node),
      hasKeeper: tenants.hasKeeper(),
    });
    for (const action of plan.actions) await performDrain(action, monitor, this.#ports, signal);
    return plan;
  }

  async #read(name: string, signal: AbortSignal): Promise<NodeMonitor | undefined> {
    try {
      return await this.#ports.store.get<NodeMonitor>(nodeMonitorType, { name }, signal);
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async #create(name: string, signal: AbortSignal): Promise<NodeMonitor> {
    const metadata = { name, labels: { [labels.node.name]: name } };
    const object: NodeMonitor = { apiVersion, kind: 'NodeMonitor', metadata, spec: {} };
    return this.#ports.store.create<NodeMonitor>(nodeMonitorType, object, signal);
  }
}

function plain(value: unknown): unknown {
  return value === undefined ? undefined : (JSON.parse(JSON.stringify(value)) as unknown);
}
