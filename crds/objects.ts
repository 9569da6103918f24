// What every Kubernetes object has in common, and the table of our four kinds. Hand-written and free of
// imports at run time, so that anything may import it at no cost; the kinds' own shapes are generated
// (types.gen.ts), and a test holds this table to the YAML.

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** Which fields one manager owns; see `store/fields/managed-fields.ts`. */
export interface ManagedFieldsEntry {
  manager: string;
  operation: 'Apply' | 'Update';
  apiVersion: string;
  time?: string;
  fieldsType: 'FieldsV1';
  fieldsV1: object;
  subresource?: string;
}

export interface ObjectMeta {
  name: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: ManagedFieldsEntry[];
}

export interface KubernetesObject<K extends string = string> {
  apiVersion: string;
  kind: K;
  metadata: ObjectMeta;
  spec?: object;
  status?: object;
}

export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  observedGeneration?: number;
  /** RFC 3339. */
  lastTransitionTime: string;
  reason: string;
  message: string;
}

export interface KindInfo {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly scope: 'Namespaced' | 'Cluster';
  readonly group: string;
  readonly version: string;
}

export const group = 'muster.dev';
export const version = 'v1alpha1';
export const apiVersion = `${group}/${version}`;

function kindInfo<K extends string>(
  kind: K,
  shortName: string,
  scope: KindInfo['scope'],
): KindInfo & { readonly kind: K } {
  const singular = kind.toLowerCase();
  return { kind, plural: `${singular}s`, singular, shortNames: [shortName], scope, group, version };
}

export const kinds = {
  ProcessGroup: kindInfo('ProcessGroup', 'pg', 'Namespaced'),
  Checkpoint: kindInfo('Checkpoint', 'ckpt', 'Namespaced'),
  Migration: kindInfo('Migration', 'mig', 'Namespaced'),
  NodeMonitor: kindInfo('NodeMonitor', 'nm', 'Cluster'),
} as const;

export type Kind = keyof typeof kinds;

/** The kind that a user means by a kind, plural, singular or short name, in any case. */
export function kindOf(word: string): KindInfo | undefined {
  const wanted = word.toLowerCase();
  return Object.values(kinds).find(
    (info) => info.plural === wanted || info.singular === wanted || info.shortNames.includes(wanted),
  );
}
