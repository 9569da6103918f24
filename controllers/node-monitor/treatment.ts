/**
 * How a node is to be treated, and at whose word: its administrator's, a health check's, its owner's, or that of the Kubernetes Node
 * that it is. Pure, and level by level: what asks no longer is taken back, and nothing is remembered. What a condition means is
 * decided here alone; who makes conditions refuses to know what follows from them.
 */
import { conditionOf } from '../../crds/conditions.ts';
import type { NodeMonitor, ProcessGroup } from '../../crds/types.gen.ts';
import type { KubernetesObject } from '../../store/object-store.ts';

export const drainPolicies = ['Migrate', 'Checkpoint', 'Suspend', 'Kill'] as const;
export type DrainPolicy = (typeof drainPolicies)[number];

/** By which policy this group leaves: ranks in carrier Pods that cannot be moved while they run are saved, and go on in others. */
export function leavingBy(
  { spec, status }: Pick<ProcessGroup, 'spec' | 'status'>,
  policy: DrainPolicy,
  couldNotMove: boolean,
): DrainPolicy {
  const isFixed = status?.network === undefined || couldNotMove;
  return policy === 'Migrate' && spec.template !== undefined && isFixed ? 'Checkpoint' : policy;
}

/** As much of a Kubernetes Node as matters here. */
export interface KubeNode extends KubernetesObject {
  readonly spec?: {
    readonly unschedulable?: boolean;
    readonly podCIDRs?: readonly string[];
    readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[];
  };
}

export interface Cause {
  /** Cordon and Drain are the NodeMonitor's own fields, which `muster uncordon` takes back. */
  readonly by: 'Cordon' | 'Drain' | 'HealthCheck' | 'Owner' | 'KubernetesNode';
  /** Continues "NODE ...": what asks for it, and how it is taken back. */
  readonly text: string;
}

export interface Treatment {
  /** Why nothing new is placed on the node; empty: it may be. A drain is among them. */
  readonly cordons: readonly Cause[];
  /** Set when every group is to leave; of several that ask the first in this file's order says how. */
  readonly drain: { readonly policy: DrainPolicy; readonly causes: readonly Cause[] } | undefined;
}

/** Taint by which an administrator of Kubernetes asks for a drain; its value may be a policy. */
export const drainTaint = 'muster.dev/drain';
/** Set by the cluster itself while it does not hear of a node, which says nothing of its ranks. */
const saysNothing: ReadonlySet<string> = new Set([
  'node.kubernetes.io/not-ready',
  'node.kubernetes.io/unreachable',
  'node.kubernetes.io/out-of-service',
]);

interface Ask {
  readonly cause: Cause;
  /** Absent: nothing but a cordon is asked for. */
  readonly policy?: DrainPolicy;
}

/** `node`: the Kubernetes Node, or 'Deleted' when there was one and is none any more; undefined without Kubernetes. */
export function treatmentOf(monitor: NodeMonitor | undefined, node?: KubeNode | 'Deleted'): Treatment {
  const asks = [
    ...(monitor ? [...ownAsks(monitor), ...kubeAsks(monitor, node)] : kubeAsks({}, node)),
    ...(monitor ? [...healthAsks(monitor), ...ownerAsks(monitor)] : []),
  ];
  const drains = asks.filter(({ policy }) => policy !== undefined);
  return {
    cordons: asks.map(({ cause }) => cause),
    drain: drains[0] && { policy: drains[0].policy!, causes: drains.map(({ cause }) => cause) },
  };
}

export const isCordoned = ({ cordons }: Treatment): boolean => cordons.length > 0;

/** Continues "NODE ...". */
export const cordonText = ({ cordons }: Treatment): string => cordons.map(({ text }) => text).join('; ');

function ownAsks({ spec = {}, metadata }: NodeMonitor): Ask[] {
  const { cordon, drain } = spec;
  const undo = `muster uncordon ${metadata.name}`;
  const asks: Ask[] = [];
  if (drain?.enabled === true) {
    const policy = drain.policy ?? 'Migrate';
    asks.push({ cause: { by: 'Drain', text: `is being drained, policy ${policy} (${undo})` }, policy });
  }
  if (cordon === true) asks.push({ cause: { by: 'Cordon', text: `is cordoned (${undo})` } });
  return asks;
}

function kubeAsks(
  { spec }: Pick<Partial<NodeMonitor>, 'spec'>,
  node: KubeNode | 'Deleted' | undefined,
): Ask[] {
  if (node === undefined) return [];
  const by = 'KubernetesNode';
  if (node === 'Deleted') return [{ cause: { by, text: 'is no Node of the Kubernetes cluster any more' } }];
  const { unschedulable, taints = [] } = node.spec ?? {};
  const { name } = node.metadata;
  const asks: Ask[] = taints.flatMap(({ key, value, effect }) => {
    const asksDrain = key === drainTaint || (effect === 'NoExecute' && !saysNothing.has(key));
    if (!asksDrain) return [];
    const named = key === drainTaint ? drainPolicies.find((policy) => policy === value) : undefined;
    const policy = named ?? spec?.drain?.policy ?? 'Migrate';
    const taint = `${key}${value === undefined || value === '' ? '' : `=${value}`}:${effect}`;
    const undo = `kubectl taint node ${name} ${key}-`;
    return [
      {
        cause: { by, text: `is being drained, policy ${policy}: its Node has the taint ${taint} (${undo})` },
        policy,
      },
    ];
  });
  if (unschedulable === true)
    asks.push({ cause: { by, text: `is cordoned in Kubernetes (kubectl uncordon ${name})` } });
  return asks;
}

/** A check that has failed as often in a row as it may, until it has passed as often: its agent damps it. */
function healthAsks({ spec, status }: NodeMonitor): Ask[] {
  const results = new Map(status?.checks?.map((check) => [check.name, check]));
  return (spec?.healthChecks ?? []).flatMap(({ name, action }) => {
    const result = results.get(name);
    if (result === undefined || result.passed) return [];
    const said = result.message === undefined || result.message === '' ? '' : `: ${result.message}`;
    const failed = `its health check ${name} fails${said} (until it passes)`;
    if (action === 'Cordon')
      return [{ cause: { by: 'HealthCheck' as const, text: `is cordoned: ${failed}` } }];
    if (action !== 'Drain') return [];
    const policy = spec?.drain?.policy ?? 'Migrate';
    const text = `is being drained, policy ${policy}: ${failed}`;
    return [{ cause: { by: 'HealthCheck' as const, text }, policy }];
  });
}

function ownerAsks({ spec, status }: NodeMonitor): Ask[] {
  const reclaimed = conditionOf(status?.conditions, 'Reclaimed');
  if (!spec?.ownerReclaim || reclaimed?.status !== 'True') return [];
  const policy = spec.ownerReclaim.policy ?? 'Suspend';
  const text = `is being drained, policy ${policy}: its owner uses it, ${reclaimed.message} (until the owner has gone)`;
  return [{ cause: { by: 'Owner', text }, policy }];
}
