/**
 * The Nodes of the Kubernetes cluster, kept by list and watch, which NodeMonitors follow: their labels, their cordon, their taints, and
 * their end. A NodeMonitor whose Node was seen once carries its uid; only such a one can have lost its Node. It decides nothing more.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { apiVersion } from '../../crds/objects.ts';
import { annotations } from '../../crds/names.ts';
import type { NodeMonitor } from '../../crds/types.gen.ts';
import type { ObjectStore, Patch, ResourceType } from '../../store/object-store.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Reserved } from '../network/pool.ts';
import { ObjectSource } from '../runtime/object-source.ts';
import type { KubeNode } from './treatment.ts';

export interface KubeNodesOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly changed: (node: string) => void;
}

export const nodeType = {
  group: '',
  version: 'v1',
  kind: 'Node',
  plural: 'nodes',
  namespaced: false,
} as const satisfies ResourceType;

const fieldManager = 'muster-nodes';
const { name: followed } = annotations.kubernetesNode;

export class KubeNodes {
  readonly #source: ObjectSource<KubeNode>;
  #listed = false;

  constructor(options: KubeNodesOptions) {
    this.#source = new ObjectSource<KubeNode>({
      ...options,
      type: nodeType,
      // Kubelets tell of their status all the time.
      changed: (name, after, before) => {
        if (!isDeepStrictEqual(followedPartOf(after), followedPartOf(before))) options.changed(name);
      },
    });
    void this.#source.listed.then(() => {
      this.#listed = true;
      options.changed('');
    });
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#source.run(signal);
  }

  get listed(): Promise<void> {
    return this.#source.listed;
  }

  /** Addresses of the Nodes' Pods, where the cluster gives each Node a range. */
  *podRanges(): Generator<Reserved> {
    for (const [name, { spec }] of this.#source.objects)
      for (const range of spec?.podCIDRs ?? []) yield { range, of: `Pods of ${name}` };
  }

  /** Undefined: there never was one, or it is not known yet. */
  of(name: string, monitor: NodeMonitor | undefined): KubeNode | 'Deleted' | undefined {
    const node = this.#source.objects.get(name);
    if (node || !this.#listed) return node;
    return monitor?.metadata.annotations?.[followed] === undefined ? undefined : 'Deleted';
  }
}

/** What the NodeMonitor lacks of its Node; undefined: nothing. */
export function followPatch(monitor: NodeMonitor, node: KubeNode): Patch | undefined {
  const { name, uid, labels: own = {}, annotations: notes } = monitor.metadata;
  const labels = node.metadata.labels ?? {};
  const nodeUid = node.metadata.uid ?? '';
  const isSame =
    notes?.[followed] === nodeUid &&
    isDeepStrictEqual(new Set(ownedLabels(monitor)), new Set(Object.keys(labels))) &&
    Object.entries(labels).every(([key, value]) => own[key] === value);
  if (isSame) return undefined;
  const metadata = { name, uid: uid ?? '', labels, annotations: { [followed]: nodeUid } };
  const patch = { apiVersion, kind: 'NodeMonitor', metadata };
  return { type: 'apply', patch, fieldManager, force: true };
}

function ownedLabels({ metadata }: NodeMonitor): string[] {
  const entry = metadata.managedFields?.find(
    ({ manager, operation }) => manager === fieldManager && operation === 'Apply',
  );
  const fields = entry?.fieldsV1 as { 'f:metadata'?: { 'f:labels'?: object } } | undefined;
  return Object.keys(fields?.['f:metadata']?.['f:labels'] ?? {}).flatMap((key) =>
    key.startsWith('f:') ? [key.slice(2)] : [],
  );
}

function followedPartOf(node: KubeNode | undefined): object | undefined {
  if (!node) return undefined;
  const { metadata, spec } = node;
  return {
    uid: metadata.uid,
    labels: metadata.labels ?? {},
    unschedulable: spec?.unschedulable ?? false,
    taints: spec?.taints ?? [],
  };
}
