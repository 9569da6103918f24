/**
 * How every node is to be treated at this moment, from the objects in memory, for whoever places, saves or empties. It tells when that
 * changes for a node, and of nothing else. Until the nodes of the cluster were listed once, nothing is placed anywhere: a cordon may
 * not have been seen yet.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NodeMonitor } from '../../crds/types.gen.ts';
import { treatmentOf, type KubeNode, type Treatment } from './treatment.ts';

export interface TreatmentsPorts {
  readonly monitors: ReadonlyMap<string, NodeMonitor>;
  readonly kubeNode?: (name: string, monitor: NodeMonitor | undefined) => KubeNode | 'Deleted' | undefined;
  readonly changed: (node: string) => void;
}

const notYet: Treatment = {
  cordons: [{ by: 'Cordon', text: 'was not looked at yet: the nodes of the cluster are being listed' }],
  drain: undefined,
};

export class Treatments {
  readonly #ports: TreatmentsPorts;
  readonly #told = new Map<string, Treatment>();
  #known = false;

  constructor(ports: TreatmentsPorts) {
    this.#ports = ports;
  }

  of(node: string): Treatment {
    return this.#known ? this.#now(node) : notYet;
  }

  /** Nodes that are cordoned by more than Kubernetes itself, whose scheduler knows the rest. */
  ownCordons(): string[] {
    return [...this.#ports.monitors.keys()].filter((node) =>
      this.of(node).cordons.some(({ by }) => by !== 'KubernetesNode'),
    );
  }

  /** Something of the node is not as it was. */
  look(node: string): void {
    const now = this.#now(node);
    const before = this.#told.get(node);
    const isThere = this.#ports.monitors.has(node);
    if (!isThere) this.#told.delete(node);
    if (isThere && isDeepStrictEqual(now, before)) return;
    if (isThere) this.#told.set(node, now);
    if (this.#known) this.#ports.changed(node);
  }

  known(): void {
    if (this.#known) return;
    this.#known = true;
    for (const node of this.#ports.monitors.keys()) this.#ports.changed(node);
  }

  #now(node: string): Treatment {
    const { monitors, kubeNode } = this.#ports;
    const monitor = monitors.get(node);
    return treatmentOf(monitor, kubeNode?.(node, monitor));
  }
}
