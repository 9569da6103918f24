/**
 * What a kind of object is called in the API: its group, version, kind and plural. A store is opened with a list of
 * these and refuses every other kind. This file knows names only; what schemas, defaults and rules say lives in `crds/`.
 */
import type { JsonSchema } from '../crds/definitions.ts';

export interface PrinterColumn {
  readonly name: string;
  readonly type: string;
  readonly jsonPath: string;
  readonly description?: string;
  readonly format?: string;
  /** 0 is always printed; higher only in wide output. */
  readonly priority?: number;
  /** In place of a path, for kinds whose columns no path leads to. */
  readonly cell?: ((object: object, nowMs: number) => unknown) | undefined;
}

export interface ResourceType {
  /** '' for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly singular?: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  /** With a status subresource (the default), `update` keeps the status and `updateStatus` keeps the rest. */
  readonly statusSubresource?: boolean;
  readonly printerColumns?: readonly PrinterColumn[];
  /** What objects of the kind look like; without one, only their metadata is known. */
  readonly schema?: JsonSchema;
  /** JSON paths of the fields, beside name and namespace, that objects are selected by: `.spec.processGroupName`. */
  readonly selectableFields?: readonly string[];
  readonly scale?: ScalePaths;
  /** A kind that kubectl has compiled in, which it patches by strategic merge. */
  readonly builtin?: boolean;
}

/** Where a kind that can be scaled keeps its numbers: JSON paths such as `.spec.replicas`. */
export interface ScalePaths {
  readonly specReplicasPath: string;
  readonly statusReplicasPath: string;
  readonly labelSelectorPath?: string;
}

/** `muster.dev/v1alpha1`, or `v1` for the core group. */
export function apiVersionOf(type: Pick<ResourceType, 'group' | 'version'>): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

/** A short, unique and stable name of a type, as kubectl writes it: `processgroups.muster.dev`. */
export function resourceNameOf(type: ResourceType): string {
  return type.group === '' ? type.plural : `${type.plural}.${type.group}`;
}

export function hasStatus(type: ResourceType): boolean {
  return type.statusSubresource !== false;
}

/** Finds a type by its kind, plural, singular, short name or `plural.group`, whatever the case. */
export function findResourceType(types: readonly ResourceType[], name: string): ResourceType | undefined {
  const wanted = name.toLowerCase();
  return types.find(
    (type) =>
      type.plural === wanted ||
      type.kind.toLowerCase() === wanted ||
      (type.singular ?? type.kind.toLowerCase()) === wanted ||
      resourceNameOf(type) === wanted ||
      (type.shortNames ?? []).includes(wanted),
  );
}

/** The few built-in kinds that Muster also keeps in its own store. */
export const builtinTypes = {
  namespace: {
    group: '',
    version: 'v1',
    kind: 'Namespace',
    plural: 'namespaces',
    namespaced: false,
    shortNames: ['ns'],
  },
  secret: {
    group: '',
    version: 'v1',
    kind: 'Secret',
    plural: 'secrets',
    namespaced: true,
    statusSubresource: false,
  },
  configMap: {
    group: '',
    version: 'v1',
    kind: 'ConfigMap',
    plural: 'configmaps',
    namespaced: true,
    shortNames: ['cm'],
    statusSubresource: false,
  },
  event: {
    group: 'events.k8s.io',
    version: 'v1',
    kind: 'Event',
    plural: 'events',
    namespaced: true,
    shortNames: ['ev'],
    statusSubresource: false,
  },
  lease: {
    group: 'coordination.k8s.io',
    version: 'v1',
    kind: 'Lease',
    plural: 'leases',
    namespaced: true,
    statusSubresource: false,
  },
} as const satisfies Record<string, ResourceType>;
