/**
 * The carrier Pod of one sandbox: the user's image, volumes and requests around a program that only waits, which an init container
 * of our own image puts there. The scheduler places it, quota and admission see it, and the agent of its node builds the sandbox in
 * its root, its network and its cgroup. Pure.
 */
import { createHash } from 'node:crypto';
import { group as apiGroup } from '../../crds/objects.ts';
import { labels } from '../../crds/names.ts';
import { quantityOf } from '../../crds/quantity.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import type { KubernetesObject } from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';
import { savesOnEviction } from '../process-group/eviction.ts';
import { identityOf } from '../spec-of.ts';
import type { Share } from './split.ts';

export const podType: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'Pod',
  plural: 'pods',
  namespaced: true,
};

export interface CarrierAffinity {
  readonly nodeAffinity?: {
    readonly requiredDuringSchedulingIgnoredDuringExecution?: {
      readonly nodeSelectorTerms?: readonly {
        readonly matchFields?: readonly { readonly operator: string; readonly values?: readonly string[] }[];
      }[];
    };
  };
}

export interface Confinement {
  readonly seccompProfile?: { readonly type: string; readonly localhostProfile?: string };
}

export interface ContainerStatus {
  readonly name: string;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly running?: object;
    readonly terminated?: { readonly reason?: string; readonly exitCode?: number; readonly message?: string };
  };
}

/** As much of a Pod as is read here. */
export interface Pod extends KubernetesObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly affinity?: CarrierAffinity;
    readonly securityContext?: Confinement;
    readonly containers?: readonly {
      readonly name: string;
      readonly securityContext?: Confinement;
      readonly [field: string]: unknown;
    }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly podIP?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
    }[];
    readonly containerStatuses?: readonly ContainerStatus[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
  };
}

export const carrierContainer = 'ranks';
/** Where the program that waits is found in the user's image: a volume, so that the image needs nothing for it. */
export const waiterDirectory = '/.muster';
export const waiterPath = `${waiterDirectory}/carrier-wait`;
const waiterVolume = 'muster-wait';
/** A Pod that nothing lives in any more ends at once, whatever it may take. */
const savedWithinSeconds = 300;

export interface CarrierImage {
  /** Our own image, by which the waiting program gets into the Pod. */
  readonly image: string;
  readonly pullPolicy?: string;
}

/** Where volumes are mounted that live and die with a Pod, and that ranks may write. */
export function scratchOf({ template }: ProcessGroup['spec']): string[] {
  const { volumes = [], volumeMounts = [] } = template?.spec ?? {};
  const own = new Set(volumes.filter(({ emptyDir }) => emptyDir !== undefined).map(({ name }) => name));
  return volumeMounts
    .filter(({ name, readOnly }) => own.has(name) && readOnly !== true)
    .map(
      ({ mountPath }) =>
        `/${mountPath
          .split('/')
          .filter((part) => part !== '')
          .join('/')}`,
    );
}

/** Each incarnation has Pods of its own, so that none is taken for one that is still going. */
export function carrierNameOf(groupName: string, incarnation: number, ordinal: number): string {
  const end = `-${incarnation}-${ordinal}`;
  if (groupName.length + end.length <= 63) return `${groupName}${end}`;
  const hash = createHash('sha256').update(groupName).digest('hex').slice(0, 6);
  return `${groupName.slice(0, 56 - end.length).replace(/[-.]+$/, '')}-${hash}${end}`;
}

export function carrierPodOf(
  group: ProcessGroup,
  share: Share,
  incarnation: number,
  waiter: CarrierImage,
  avoided: readonly string[] = [],
): Pod {
  const { metadata, spec } = group;
  const template = spec.template ?? {};
  const wished = template.spec ?? {};
  const { uid, gid } = identityOf(group);
  const { nodeSelector, ...placed } = placementOf(group, share, avoided);
  const mount = { name: waiterVolume, mountPath: waiterDirectory };
  const small = { cpu: '10m', memory: '16Mi' };
  const locked = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
  };
  const optional = {
    imagePullSecrets: wished.imagePullSecrets,
    schedulerName: wished.schedulerName,
    priorityClassName: wished.priorityClassName,
    tolerations: wished.tolerations,
    serviceAccountName: wished.serviceAccountName,
  };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: carrierNameOf(metadata.name, incarnation, share.ordinal),
      namespace: metadata.namespace ?? 'default',
      labels: {
        ...template.metadata?.labels,
        [labels.group.name]: metadata.name,
        [labels.groupUid.name]: metadata.uid ?? '',
        [labels.ordinal.name]: String(share.ordinal),
        [labels.incarnation.name]: String(incarnation),
        ...(share.migrationUid === undefined ? {} : { [labels.migrationUid.name]: share.migrationUid }),
      },
      annotations: {
        ...template.metadata?.annotations,
        'kubectl.kubernetes.io/default-container': carrierContainer,
      },
      ownerReferences: [
        {
          apiVersion: group.apiVersion,
          kind: group.kind,
          name: metadata.name,
          uid: metadata.uid ?? '',
          controller: true,
          blockOwnerDeletion: false,
        },
      ],
    },
    spec: {
      ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
      ...placed,
      ...(Object.keys(nodeSelector).length === 0 ? {} : { nodeSelector }),
      restartPolicy: 'Never',
      enableServiceLinks: false,
      automountServiceAccountToken: wished.serviceAccountName !== undefined,
      // What the ranks have to end in, or to be saved in, and then some: they live in this Pod's cgroup.
      terminationGracePeriodSeconds:
        (spec.gracePeriodSeconds ?? 10) + (savesOnEviction(group) ? savedWithinSeconds : 20),
      securityContext: {
        runAsUser: uid,
        runAsGroup: gid,
        runAsNonRoot: uid !== 0,
        seccompProfile: wished.securityContext?.seccompProfile ?? { type: 'RuntimeDefault' },
      },
      initContainers: [
        {
          name: 'waiter',
          image: waiter.image,
          ...(waiter.pullPolicy === undefined ? {} : { imagePullPolicy: waiter.pullPolicy }),
          command: ['/opt/muster/build/native/carrier-wait', '--install', waiterPath],
          resources: { requests: small, limits: { memory: '32Mi' } },
          securityContext: { ...locked, readOnlyRootFilesystem: true },
          volumeMounts: [mount],
        },
      ],
      containers: [
        {
          name: carrierContainer,
          image: wished.image ?? waiter.image,
          ...(wished.imagePullPolicy === undefined ? {} : { imagePullPolicy: wished.imagePullPolicy }),
          command: [waiterPath, `${apiGroup}/${metadata.name}/${share.ordinal}`],
          resources: resourcesOf(group, share.rankCount),
          securityContext: locked,
          volumeMounts: [...(wished.volumeMounts ?? []), { ...mount, readOnly: true }],
        },
      ],
      volumes: [
        ...(wished.volumes ?? []),
        { name: waiterVolume, emptyDir: { medium: 'Memory', sizeLimit: '4Mi' } },
      ],
    },
  } as Pod;
}

/** More than that is not said to the scheduler; a Pod that is large for what it avoids is made by nobody. */
const mostAvoided = 256;

/** Named nodes by affinity, not by nodeName: that would go past the scheduler, and with it past quota of gangs and taints. */
function placementOf(
  { spec }: ProcessGroup,
  { node, avoided: unable = [], preferred = [] }: Share,
  avoided: readonly string[],
): { nodeSelector: Record<string, string>; affinity?: object } {
  const nodeSelector = { ...spec.template?.spec?.nodeSelector, ...spec.placement?.nodeSelector };
  const key = 'metadata.name';
  const away = [...new Set([...unable, ...avoided])].slice(0, mostAvoided);
  const matchFields = [
    ...(node === undefined ? [] : [{ key, operator: 'In', values: [node] }]),
    ...away.map((each) => ({ key, operator: 'NotIn', values: [each] })),
  ];
  const required = { nodeSelectorTerms: [{ matchFields }] };
  const nearby = preferred.map((each, i) => ({
    weight: i === 0 ? 100 : 50,
    preference: { matchFields: [{ key, operator: 'In', values: [each] }] },
  }));
  const nodeAffinity = {
    ...(matchFields.length === 0 ? {} : { requiredDuringSchedulingIgnoredDuringExecution: required }),
    ...(nearby.length === 0 ? {} : { preferredDuringSchedulingIgnoredDuringExecution: nearby }),
  };
  return Object.keys(nodeAffinity).length === 0
    ? { nodeSelector }
    : { nodeSelector, affinity: { nodeAffinity } };
}

/** For what waits, and for what the kernel keeps of the Pod: ranks that ask for too much meet their own limit, not the Pod's. */
const ownMemoryBytes = 16 * 2 ** 20;

/** What one rank needs, times the ranks. Devices of the nodes' configuration are the agents' business. */
function resourcesOf({ spec }: ProcessGroup, ranks: number): object {
  const times = (amounts: Record<string, number | string> | undefined): Record<string, string> =>
    Object.fromEntries(
      Object.entries(amounts ?? {}).map(([name, amount]) => [
        name,
        timesText(quantityOf(amount), name, ranks),
      ]),
    );
  return { requests: times(spec.resources?.requests), limits: times(spec.resources?.limits) };
}

function timesText(amount: number, name: string, ranks: number): string {
  if (name === 'cpu') return `${Math.ceil(amount * ranks * 1000)}m`;
  return String(Math.ceil(amount * ranks) + (name === 'memory' ? ownMemoryBytes : 0));
}
