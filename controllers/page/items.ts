/**
 * What the page is shown of objects and of agents' facts: the few fields that it paints, small and of a bounded size. Pure; what is
 * worth showing at all is picture.ts.
 */
import { conditionOf } from '../../crds/conditions.ts';
import type { Condition } from '../../crds/objects.ts';
import { RankSet } from '../../crds/rank-set.ts';
import type { Checkpoint, Migration, NodeMonitor, ProcessGroup } from '../../crds/types.gen.ts';
import type { AnyObject } from '../../store/object-store.ts';
import type { SandboxFact } from '../../wire/agent-types.ts';
import type {
  FeedAct,
  FeedEvent,
  FeedGroup,
  FeedNode,
  FeedSandbox,
  SandboxState,
} from '../../wire/page-feed.ts';
import { sandboxStates } from '../../wire/page-feed.ts';
import type { NodeState, Standing } from '../hub/node-table.ts';
import type { Assignment } from '../placement/placement-status.ts';
import { pastOf } from './past.ts';

const longestText = 400;

const msOf = (text: string | undefined): number => {
  const ms = Date.parse(text ?? '');
  return Number.isNaN(ms) ? 0 : ms;
};
const short = (text: string | undefined): string => (text ?? '').slice(0, longestText);

export function groupItem(group: ProcessGroup): FeedGroup {
  const { metadata, spec, status = {} } = group;
  const { namespace = 'default', name = '', uid = '' } = metadata;
  const { ranks = {}, usage = {}, lastCheckpoint } = status;
  return {
    kind: 'group',
    namespace,
    name,
    uid,
    phase: status.phase ?? 'Pending',
    message: short(messageOf(status)),
    size: spec.size ?? ranks.desired ?? 0,
    running: ranks.running ?? 0,
    succeeded: ranks.succeeded ?? 0,
    failed: (ranks.failed ?? 0) + (ranks.startFailed ?? 0),
    nodeCount: status.nodeCount ?? 0,
    command: short(commandOf(spec)),
    restarts: status.restarts ?? 0,
    createdMs: msOf(metadata.creationTimestamp),
    startedMs: msOf(status.startTime),
    runningMs: msOf(status.runningTime),
    finishedMs: msOf(status.finishTime),
    cpuSeconds: Math.round(usage.cpuSeconds ?? 0),
    memoryBytes: usage.maxMemoryBytes ?? 0,
    checkpoint: lastCheckpoint?.name ?? '',
    checkpointMs: msOf(lastCheckpoint?.time),
    past: pastOf(group),
  };
}

function commandOf({ processes = [], restoreFrom }: ProcessGroup['spec']): string {
  const [first, ...more] = processes;
  if (!first) return restoreFrom ? `restored from ${restoreFrom.checkpointName}` : '';
  const text = [...first.command, ...(first.args ?? [])].join(' ');
  return more.length === 0 ? text : `${text} : ${more.length} more`;
}

/** Why it failed, stands still or does not begin; nothing of one that simply runs. */
function messageOf({
  phase,
  conditions,
  exitSummary,
  holds = [],
}: NonNullable<ProcessGroup['status']>): string {
  const of = (type: Parameters<typeof conditionOf>[1]): string =>
    conditionOf(conditions, type)?.message ?? '';
  switch (phase ?? 'Pending') {
    case 'Failed':
      return exitSummary?.message ?? of('Failed');
    case 'Stalled':
      return of('Stalled');
    case 'Suspended':
    case 'Suspending':
    case 'Resuming':
      return holds[0]?.message ?? of('Suspended');
    case 'Pending':
    case 'Placing':
      return holds[0]?.message ?? of('Placed');
    case 'Starting':
    case 'Restarting':
    case 'Stopping':
      return of('Running');
    case 'Running':
    case 'Succeeded':
      return '';
  }
}

export function nodeItem(
  { metadata, status = {} }: NodeMonitor,
  state: NodeState | undefined,
  standing: Standing,
): FeedNode {
  const { conditions } = status;
  const load = state?.load;
  const bad = (conditions ?? []).find(isBad);
  const phase = standing === 'Lost' && status.phase === 'Ready' ? 'NotReady' : (status.phase ?? 'Pending');
  const { cpu = 0, memory = 0, io = 0 } = status.pressure ?? {};
  return {
    kind: 'node',
    name: metadata.name ?? '',
    phase,
    problem: phase === 'Ready' && !bad ? '' : short(bad && `${bad.reason}: ${bad.message}`),
    cpus: state?.hello?.capacity?.cpus ?? status.topology?.threads ?? 0,
    load1: tenths(load?.load1 ?? status.load?.one ?? 0),
    memoryBytes: state?.hello?.capacity?.memoryBytes ?? status.memory?.totalBytes ?? 0,
    memoryAvailableBytes: coarse(load?.memoryAvailableBytes ?? status.memory?.availableBytes ?? 0),
    pressure: [
      tenths(load?.cpuPressureAvg10 ?? cpu),
      tenths(load?.memoryPressureAvg10 ?? memory),
      tenths(load?.ioPressureAvg10 ?? io),
    ],
  };
}

/** Ready and Healthy are well when they hold, all others when they do not. */
function isBad({ type, status }: Condition): boolean {
  if (type === 'Reconciling' || type === 'Stalled') return false;
  return type === 'Ready' || type === 'Healthy' ? status !== 'True' : status === 'True';
}

const tenths = (value: number): number => Math.round(value * 10) / 10;
/** Coarse, so that what hardly changes is not told anew. */
const coarse = (bytes: number): number => Math.round(bytes / 2 ** 24) * 2 ** 24;

export interface SandboxUse {
  /** Cores in use of late. */
  readonly cores: number;
  /** By rank in order, as in FeedSandbox.load, where that is known. */
  readonly load?: string | undefined;
}

export function sandboxItem(
  { metadata }: ProcessGroup,
  { ordinal, incarnation, node, ranks, rankCount }: Assignment,
  fact: SandboxFact | undefined,
  { cores, load }: SandboxUse,
): FeedSandbox {
  const { namespace = 'default', name = '', uid = '' } = metadata;
  const state = stateOf(fact);
  return {
    kind: 'sandbox',
    namespace,
    group: name,
    ...{ uid, ordinal, incarnation, node, ranks, state },
    succeeded: fact?.succeeded ?? '',
    failed: RankSet.from((fact?.failures ?? []).map(({ rank }) => rank)).toString(),
    load: state !== 'Running' ? '' : (load ?? digitOf(cores / Math.max(1, rankCount))),
    cores: state === 'Running' ? Math.round(cores * 100) / 100 : 0,
    memoryBytes: Math.round((fact?.memoryBytes ?? 0) / 2 ** 20) * 2 ** 20,
  };
}

/** Use of a processor as one digit: 0 none, 9 all of it. */
export const digitOf = (share: number): string => String(Math.max(0, Math.min(9, Math.round(share * 9))));

function stateOf(fact: SandboxFact | undefined): SandboxState {
  if (!fact) return 'Unknown';
  if (fact.state === 'Running' && fact.checkpoint?.held) return 'Saving';
  if (fact.state === 'Running' && fact.frozen) return 'Frozen';
  return sandboxStates.find((state) => state === fact.state) ?? 'Unknown';
}

export function checkpointItem(checkpoint: Checkpoint): FeedAct {
  const { status = {} } = checkpoint;
  const bytes = status.imageBytes ?? status.progress?.bytesWritten ?? 0;
  return { ...actOf('checkpoint', checkpoint), bytes, from: '', to: status.nodes ?? '' };
}

export function migrationItem(migration: Migration): FeedAct {
  const { spec, status = {} } = migration;
  const [from, to] = [status.source ?? spec.from ?? '', status.target ?? spec.to ?? ''];
  return { ...actOf('migration', migration), bytes: status.transferredBytes ?? 0, from, to };
}

function actOf(
  kind: FeedAct['kind'],
  { metadata, spec, status = {} }: Checkpoint | Migration,
): Omit<FeedAct, 'bytes' | 'from' | 'to'> {
  return {
    kind,
    namespace: metadata.namespace ?? 'default',
    name: metadata.name ?? '',
    group: spec.processGroupName,
    phase: status.phase ?? 'Pending',
    message: short(failureOf(status.conditions)),
    createdMs: msOf(metadata.creationTimestamp),
    startedMs: msOf(status.startTime),
    finishedMs: msOf(status.finishTime),
    downtimeMs: status.downtimeMilliseconds ?? 0,
  };
}

function failureOf(conditions: readonly Condition[] | undefined): string | undefined {
  return (conditions ?? []).find(
    ({ type, status }) => (type === 'Failed' || type === 'Stalled') && status === 'True',
  )?.message;
}

interface EventFields {
  readonly eventTime?: string;
  readonly deprecatedLastTimestamp?: string;
  readonly type?: string;
  readonly reason?: string;
  readonly note?: string;
  readonly series?: { readonly count?: number; readonly lastObservedTime?: string };
  readonly regarding?: { readonly kind?: string; readonly name?: string };
}

export function eventItem(event: AnyObject): FeedEvent {
  const { metadata } = event;
  const { eventTime, deprecatedLastTimestamp, type, reason, note, series, regarding } = event as EventFields;
  return {
    kind: 'event',
    namespace: metadata.namespace ?? 'default',
    atMs: msOf(
      series?.lastObservedTime ?? eventTime ?? deprecatedLastTimestamp ?? metadata.creationTimestamp,
    ),
    count: series?.count ?? 1,
    warning: type === 'Warning',
    reason: reason ?? '',
    note: short(note),
    aboutKind: regarding?.kind ?? '',
    about: regarding?.name ?? '',
  };
}
