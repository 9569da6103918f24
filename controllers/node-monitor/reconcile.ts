/**
 * The NodeMonitor controller: makes the object when an agent registers, and writes what agents say of themselves: at once
 * when it matters, load at a bounded rate. It never writes a spec.
 */
import { isDeepStrictEqual } from 'node:util';
import { apiVersion } from '../../crds/objects.ts';
import { labels } from '../../crds/names.ts';
import type { NodeMonitor, NodeMonitorStatus } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { NodeTable } from '../hub/node-table.ts';
import { nodeMonitorType } from '../resource-types.ts';
import type { Clock } from '../runtime/clock.ts';
import { settled, type Key, type Outcome, type Reconciler } from '../runtime/reconciler.ts';
import { nodeStatusOf, urgentPartOf } from './status.ts';

export interface NodeMonitorPorts {
  readonly store: ObjectStore;
  readonly nodes: NodeTable;
  readonly clock: Clock;
  readonly loadEveryMs?: number;
}

export class NodeMonitorReconciler implements Reconciler {
  readonly name = 'node-monitor';
  readonly #ports: NodeMonitorPorts;
  readonly #writtenMs = new Map<string, number>();

  constructor(ports: NodeMonitorPorts) {
    this.#ports = ports;
  }

  async reconcile(key: Key, signal: AbortSignal): Promise<Outcome> {
    const { store, nodes, clock, loadEveryMs = 30_000 } = this.#ports;
    const state = nodes.get(key);
    const monitor =
      (await this.#read(key, signal)) ?? (state?.connected ? await this.#create(key, signal) : undefined);
    if (!monitor) return settled;
    nodes.expect(key);
    const seen = {
      monitor,
      state,
      standing: nodes.standing(key),
      silentMs: nodes.silentMs(key),
      nowMs: clock.now(),
    };
    const status = JSON.parse(JSON.stringify(nodeStatusOf(seen))) as NodeMonitorStatus;
    if (isDeepStrictEqual(status, plain(monitor.status))) return settled;
    const waitMs = (this.#writtenMs.get(key) ?? -loadEveryMs) + loadEveryMs - clock.steady();
    const urgent = !isDeepStrictEqual(plain(urgentPartOf(status)), plain(urgentPartOf(monitor.status)));
    // Whoever waits until a node is empty is not to wait for the next round.
    const emptied = status.sandboxes?.count === 0 && (monitor.status?.sandboxes?.count ?? 0) > 0;
    if (!urgent && !emptied && waitMs > 0) return { kind: 'again', afterMs: waitMs };
    this.#writtenMs.set(key, clock.steady());
    await store.updateStatus<NodeMonitor>(nodeMonitorType, { ...monitor, status }, signal);
    return settled;
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
