/**
 * What a carrier Pod's own status says of it, in our words. Pure.
 */
import type { Carrier } from '../../wire/agent-types.ts';
import { labels } from '../../crds/names.ts';
import { carrierContainer, type ContainerStatus, type Pod } from './pod.ts';

export type CarrierState =
  /** Not scheduled, or its images are being fetched. */
  | 'Pending'
  | 'Running'
  /** Somebody has deleted it: the kubelet ends it within its grace period. */
  | 'Leaving'
  /** Its containers have ended; the object may still be there. */
  | 'Ended';

export interface CarrierView {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly ordinal: number;
  readonly incarnation: number;
  readonly state: CarrierState;
  readonly node: string | undefined;
  readonly address: string | undefined;
  readonly createdMs: number;
  /** Nodes that the scheduler was told to keep it from when it was made. */
  readonly avoids: readonly string[];
  /** Seccomp profile of the node that it is under, whoever said so; '' for any other. */
  readonly profile: string;
  /** Of the Migration that it was made for; '' for any other. */
  readonly migrationUid: string;
  /** Of a Pod that does not run: why not. */
  readonly why: string;
}

export function carrierViewOf(pod: Pod): CarrierView {
  const { metadata, spec, status } = pod;
  const number = (name: string): number => Number(metadata.labels?.[name] ?? NaN);
  return {
    name: metadata.name ?? '',
    namespace: metadata.namespace ?? 'default',
    uid: metadata.uid ?? '',
    ordinal: number(labels.ordinal.name),
    incarnation: number(labels.incarnation.name),
    state: stateOf(pod),
    node: spec?.nodeName,
    address: status?.podIP,
    createdMs: Date.parse(metadata.creationTimestamp ?? '') || 0,
    avoids: avoidedBy(pod),
    profile: profileOf(pod),
    migrationUid: metadata.labels?.[labels.migrationUid.name] ?? '',
    why: whyOf(pod),
  };
}

/** The container's own goes before that of the Pod. */
function profileOf({ spec }: Pod): string {
  const own = spec?.containers?.find(({ name }) => name === carrierContainer)?.securityContext;
  const { type, localhostProfile = '' } = own?.seccompProfile ?? spec?.securityContext?.seccompProfile ?? {};
  return type === 'Localhost' ? localhostProfile : '';
}

function avoidedBy({ spec }: Pod): readonly string[] {
  const terms =
    spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  const [term] = terms ?? [];
  return (term?.matchFields ?? [])
    .filter(({ operator }) => operator === 'NotIn')
    .flatMap(({ values = [] }) => values);
}

function stateOf({ metadata, status }: Pod): CarrierState {
  if (status?.phase === 'Failed' || status?.phase === 'Succeeded') return 'Ended';
  const own = ownStatus(status?.containerStatuses);
  if (own?.state?.terminated) return 'Ended';
  if (metadata.deletionTimestamp !== undefined) return 'Leaving';
  return own?.state?.running ? 'Running' : 'Pending';
}

const ownStatus = (statuses: readonly ContainerStatus[] | undefined): ContainerStatus | undefined =>
  statuses?.find(({ name }) => name === carrierContainer);

function whyOf({ metadata, status }: Pod): string {
  const ended = ownStatus(status?.containerStatuses)?.state?.terminated;
  // Evicted, NodeLost, UnexpectedAdmissionError and the like.
  if (status?.reason) return text(status.reason, status.message);
  if (ended) return text(ended.reason ?? `exit code ${ended.exitCode ?? '?'}`, ended.message);
  const disruption = status?.conditions?.find(
    ({ type, status: is }) => type === 'DisruptionTarget' && is === 'True',
  );
  if (disruption) return text(disruption.reason ?? 'disrupted', disruption.message);
  if (metadata.deletionTimestamp !== undefined) return 'was deleted';
  const waiting = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])].find(
    ({ state }) => state?.waiting?.reason !== undefined && state.waiting.reason !== 'PodInitializing',
  )?.state?.waiting;
  if (waiting) return text(waiting.reason ?? '', waiting.message);
  const scheduled = status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False') return text(scheduled.reason ?? 'Unschedulable', scheduled.message);
  return status?.phase === undefined || status.phase === 'Pending' ? 'is being started' : '';
}

const text = (reason: string, message: string | undefined): string =>
  message ? `${reason}: ${message.slice(0, 500)}` : reason;

/** What an agent finds the Pod by, and has to know of it. */
export function carrierRefOf(
  views: readonly CarrierView[],
  ordinal: number,
  incarnation: number,
  scratch: readonly string[] = [],
): Carrier | undefined {
  const view = views.find((each) => each.ordinal === ordinal && each.incarnation === incarnation);
  return view && carrierRefTo(view, scratch);
}

export function carrierRefTo(view: CarrierView, scratch: readonly string[]): Carrier {
  const { namespace, name: pod, uid, address = '', profile } = view;
  return { namespace, pod, uid, address, scratch: [...scratch], profile };
}
