/**
 * The status of a ProcessGroup, from one snapshot and its phase. Pure. Conditions are set on the first visit and follow
 * kstatus: Reconciling until the group runs for the first time, is held or has finished; Stalled when only its user can
 * help; Succeeded and Failed are terminal and exclude each other. The phase is only for printing.
 */
import {
  conditionOf,
  isTrue,
  setCondition,
  timeOf,
  type ConditionInput,
  type Reason,
} from '../../crds/conditions.ts';
import type { Condition } from '../../crds/objects.ts';
import { RankSet } from '../../crds/rank-set.ts';
import type {
  Checkpoint,
  ProcessGroupExitSummary,
  ProcessGroupExitSummaryExitCount,
  ProcessGroupRanks,
  ProcessGroupStatus,
} from '../../crds/types.gen.ts';
import type { SandboxFact } from '../../wire/agent-types.ts';
import { subnetSixOf } from '../../wire/job-addresses.ts';
import { compressPlacement, type Assignment } from '../placement/placement-status.ts';
import { identityOf } from '../spec-of.ts';
import { drainHold, drainHoldOf } from './drain.ts';
import { withPhaseNoted } from './phase-history.ts';
import type { Phase } from './phase.ts';
import type { SandboxView, Seen } from './seen.ts';
import { failureText, withFailures } from './restore-retry.ts';
import { isSaved, suspensionFailure, suspensionStateOf } from './suspension.ts';
import { suspendPolicyOf } from './suspend-policy.ts';
import { exitOf, firstFailure, unaccounted, verdictOf, type Verdict } from './verdict.ts';
import { earlierUsage, usageOf } from './usage.ts';
import { countedTime } from './wall-time.ts';
import { fenceHold, lostOf, podLossOf, silentOf, wardenStep } from './warden.ts';

type State = readonly [status: Condition['status'], reason: Reason, message: string];
type Conditions = Record<
  'Placed' | 'Running' | 'Suspended' | 'Succeeded' | 'Failed' | 'Reconciling' | 'Stalled',
  State
>;

const warned = 'warned of the end of the wall time';

/** Whether the warning before the end of the wall time is on record. */
export function warnedOf(status: ProcessGroupStatus | undefined): boolean {
  return conditionOf(status?.conditions, 'Running')?.message.endsWith(warned) ?? false;
}

/** Sandboxes of a group that is being placed, as they will stand in status. */
export function newAssignments(seen: Seen): readonly Assignment[] {
  if (seen.placing?.kind !== 'placed') return [];
  const incarnation = (seen.group.status?.incarnation ?? 0) + 1;
  return seen.placing.sandboxes.map((sandbox) => ({ ...sandbox, incarnation }));
}

/** `warns` when this visit sends the warning before the end of the wall time. */
export function statusOf(seen: Seen, phase: Phase, warns = false): ProcessGroupStatus {
  return withPhaseNoted(seen.group.status ?? {}, currentStatus(seen, phase, warns), seen.nowMs);
}

function currentStatus(seen: Seen, phase: Phase, warns: boolean): ProcessGroupStatus {
  const { group, nowMs } = seen;
  const before = group.status ?? {};
  const { generation } = group.metadata;
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  if (phase === 'Deleting') return deletingStatus(seen);
  if (phase === 'Finished') return { ...before, ...observed };
  if (phase === 'Vacated') return { ...vacatedStatus(seen, phase), ...observed };
  if (phase === 'Restarted') {
    const restarts = (before.restarts ?? 0) + (seen.retry ? 0 : 1);
    return { ...vacatedStatus(seen, phase), restarts, ...observed };
  }
  const verdict = phase === 'Ending' || phase === 'Ended' ? verdictOf(seen) : undefined;
  const end = phase === 'Ended' ? (verdict ?? firstFailure(seen) ?? unaccounted(seen)) : verdict;
  const now = timeOf(new Date(nowMs));
  const assignments = phase === 'Placing' ? newAssignments(seen) : undefined;
  const placement = assignments ? compressPlacement(assignments) : before.placement;
  const nodes = new Set((assignments ?? seen.sandboxes).map(({ node }) => node));
  const started = phase === 'Placing' ? now : before.startTime;
  const running = before.runningTime ?? (hasStarted(seen, phase) ? now : undefined);
  const finish = before.finishTime ?? (phase === 'Ended' ? now : undefined);
  const exit = phase === 'Ended' || phase === 'Ending' ? exitSummary(seen, end) : before.exitSummary;
  const counts = started !== undefined && finish === undefined && phase !== 'Frozen';
  const resolved = before.placement !== undefined ? (before.resolved ?? resolvedOf(seen)) : resolvedOf(seen);
  const network = networkOf(seen, phase);
  const restore = restoreOf(seen, phase);
  const nodeLeaseSeconds = phase === 'Placing' ? seen.nodeLeaseSeconds : before.nodeLeaseSeconds;
  return {
    ...before,
    ...observed,
    phase: printed[phase](end),
    conditions: conditionsOf(seen, phase, end, warns || warnedOf(before)),
    ranks: ranksOf(seen, phase === 'Ended'),
    ...(nodes.size === 0 ? {} : { nodeCount: nodes.size }),
    ...(placement === undefined ? {} : { placement }),
    ...(network === undefined ? {} : { network }),
    ...(nodeLeaseSeconds === undefined ? {} : { nodeLeaseSeconds }),
    ...holdsOf(seen, phase),
    ...(started === undefined ? {} : { startTime: started }),
    ...(running === undefined ? {} : { runningTime: running }),
    ...(finish === undefined ? {} : { finishTime: finish }),
    ...without(countedTime(before, counts, nowMs)),
    ...(exit === undefined ? {} : { exitSummary: exit }),
    ...(seen.sandboxes.length === 0 ? {} : { usage: usageOf(seen) }),
    ...({ restore, lastCheckpoint: lastCheckpointOf(seen) } as object),
    restarts: before.restarts ?? 0,
    ...(resolved === undefined ? {} : { resolved }),
  };
}

/** Dropped where the status is written. */
export const ofOneRun = {
  placement: undefined, network: undefined, nodeCount: undefined, startTime: undefined, runningTime: undefined,
  activeSince: undefined, activeSeconds: undefined, nodeLeaseSeconds: undefined, holds: undefined, migration: undefined,
}; // prettier-ignore

/** As of a group that was never started, but for what is said of it and for the incarnations that are used up. */
function vacatedStatus(seen: Seen, phase: 'Vacated' | 'Restarted'): ProcessGroupStatus {
  const unplaced: Seen = { ...seen, sandboxes: [] };
  const before = seen.group.status ?? {};
  // Ranks that are brought back go on where they were, addresses, time and all.
  const back = phase === 'Restarted' ? againFrom(seen) : undefined;
  const kept =
    (phase === 'Vacated' && isSaved(seen)) || back
      ? {
          ...without(countedTime(before, false, seen.nowMs)),
          restore: back ?? before.restore,
        }
      : { restore: undefined };
  // Addresses are the group's for as long as it lives, also where it begins anew.
  const hasNetwork = phase === 'Restarted' || isSaved(seen);
  return {
    ...before,
    ...(ofOneRun as object),
    ...(kept as object),
    ...({ network: hasNetwork ? before.network : undefined } as object),
    ...({ lastCheckpoint: lastCheckpointOf(seen), usage: earlierUsage(seen) } as object),
    ...(phase === 'Vacated' && seen.drain?.policy === 'Suspend' ? { holds: [drainHoldOf(unplaced)!] } : {}),
    phase: printed[phase](undefined),
    conditions: conditionsOf(unplaced, phase, undefined, false),
    ranks: ranksOf(unplaced, false),
    incarnation: Math.max(...seen.sandboxes.map(({ incarnation }) => incarnation)),
  };
}

const printed: Record<
  Exclude<Phase, 'Deleting' | 'Finished'>,
  (end: Verdict | undefined) => NonNullable<ProcessGroupStatus['phase']>
> = {
  Invalid: () => 'Stalled',
  NotSupported: () => 'Stalled',
  Held: () => 'Suspended',
  Pending: () => 'Pending',
  Placing: () => 'Starting',
  Starting: () => 'Starting',
  Running: () => 'Running',
  Suspending: () => 'Suspending',
  Frozen: () => 'Suspended',
  Saving: () => 'Suspending',
  Resuming: () => 'Resuming',
  Vacating: () => 'Suspending',
  Vacated: () => 'Suspended',
  Restarting: () => 'Restarting',
  Restarted: () => 'Pending',
  Ending: () => 'Stopping',
  Ended: (end) => (end ? 'Failed' : 'Succeeded'),
};

function conditionsOf(
  seen: Seen,
  phase: Exclude<Phase, 'Deleting' | 'Finished'>,
  end: Verdict | undefined,
  isWarned: boolean,
): Condition[] {
  const { group, nowMs } = seen;
  const { generation } = group.metadata;
  let conditions: readonly Condition[] = group.status?.conditions ?? [];
  const states = statesOf(seen, phase, end, isWarned);
  for (const [type, [status, reason, message]] of Object.entries(states)) {
    const input: ConditionInput = { type: type as ConditionInput['type'], status, reason, message };
    conditions = setCondition(
      conditions,
      generation === undefined ? input : { ...input, observedGeneration: generation },
      new Date(nowMs),
    );
  }
  return [...conditions];
}

function statesOf(
  seen: Seen,
  phase: Exclude<Phase, 'Deleting' | 'Finished'>,
  end: Verdict | undefined,
  isWarned: boolean,
): Partial<Conditions> {
  const away = seen.sandboxes.filter((view) => view.standing === 'Lost' && view.state !== 'Over');
  const unreachable = away.length === 0 ? undefined : awayText(away);
  const base: Conditions = {
    Placed:
      seen.sandboxes.length > 0 || phase === 'Placing'
        ? ['True', 'Placed', 'every rank has a node']
        : ['False', 'NotPlacedYet', 'no rank has a node yet'],
    Running: ['False', 'NotStarted', 'nothing was started yet'],
    Suspended: ['False', 'NotSuspended', 'the group is not to stand still'],
    Succeeded: ['False', 'NotFinished', 'the group has not ended'],
    Failed: ['False', 'NotFinished', 'the group has not ended'],
    Reconciling: ['False', 'Settled', 'as it is to be'],
    Stalled: ['False', 'NotStalled', 'nothing stands in the way'],
  };
  const run: State = unreachable
    ? ['Unknown', 'AgentUnreachable', unreachable]
    : [
        'True',
        someEnded(seen) ? 'SomeRanksEnded' : 'RanksRunning',
        `${someEnded(seen) ? 'some ranks have ended, the others run' : 'all ranks run'}${isWarned ? `; ${warned}` : ''}`,
      ];
  const reconciles = (message: string): State => [
    'True',
    unreachable ? 'AgentUnreachable' : 'Progressing',
    unreachable ?? message,
  ];
  const settledRun: State = unreachable ? reconciles('') : base.Reconciling;
  switch (phase) {
    case 'Invalid':
      return { ...base, Stalled: ['True', 'InvalidSpec', seen.invalid.join('; ')] };
    case 'NotSupported':
      return { ...base, Stalled: ['True', 'NotSupported', seen.unsupported.join('; ')] };
    case 'Held':
    case 'Vacated': {
      const before = seen.group.status?.incarnation !== undefined || phase === 'Vacated';
      const { restore } = seen.group.status ?? {};
      const hold = drainHoldOf({ ...seen, sandboxes: [] });
      const text =
        hold && seen.group.spec.suspend !== true
          ? (hold.message ?? '')
          : restore
            ? `every rank was saved as Checkpoint ${restore.checkpointName} and the nodes given back; the group goes on from there when it is resumed`
            : before
              ? 'every rank was ended and the nodes given back; the group starts from its beginning when it is resumed'
              : 'spec.suspend is true; nothing was started';
      return { ...base, Suspended: ['True', 'Vacated', text] };
    }
    case 'Vacating':
      return {
        ...base,
        Running: ['False', 'Vacating', 'ranks are being ended for the suspension'],
        Suspended: [
          'False',
          'Vacating',
          `ranks are being ended; then the nodes are given back${unsaved(seen)}`,
        ],
        Reconciling: reconciles('ranks are being ended for the suspension'),
      };
    case 'Restarting': {
      const text = restartText(seen);
      return {
        ...base,
        Running: ['False', 'Restarting', text],
        Reconciling: ['True', 'Progressing', text],
      };
    }
    case 'Restarted':
      return {
        ...base,
        Reconciling: ['True', 'Progressing', 'no rank runs any more; the group is placed anew'],
      };
    case 'Pending': {
      const { placing } = seen;
      const why: State =
        placing?.kind === 'waiting' ? ['False', placing.reason, placing.message] : base.Placed;
      return { ...base, Placed: why, Reconciling: reconciles(`waiting for nodes: ${why[2]}`) };
    }
    case 'Placing':
    case 'Starting':
      return {
        ...base,
        Running: ['False', 'Starting', 'sandboxes and ranks are being started'],
        Reconciling: reconciles('ranks are being started'),
      };
    case 'Running':
      return { ...base, Running: run, Reconciling: settledRun };
    case 'Suspending':
      return {
        ...base,
        Running: run,
        Suspended: ['False', 'Freezing', `ranks are being frozen${unsaved(seen)}`],
        Reconciling: reconciles('ranks are being frozen'),
      };
    case 'Saving': {
      const text = `the group is being saved for the suspension: ${savingText(seen)}`;
      return { ...base, Running: run, Suspended: ['False', 'Saving', text], Reconciling: reconciles(text) };
    }
    case 'Frozen':
      return {
        ...base,
        Running: ['False', 'Frozen', 'every rank is frozen in place'],
        Suspended: [
          'True',
          'Frozen',
          `every rank is frozen in place; memory and nodes stay taken${unsaved(seen)}`,
        ],
        Reconciling: settledRun,
      };
    case 'Resuming':
      return {
        ...base,
        Running: run,
        Suspended: ['False', 'Thawing', 'ranks are being resumed'],
        Reconciling: reconciles('ranks are being resumed'),
      };
    case 'Ending':
      return {
        ...base,
        Running: ['False', 'Stopping', end?.exit.message ?? ''],
        Reconciling: reconciles(`ranks are being ended: ${end?.exit.message ?? ''}`),
      };
    case 'Ended': {
      const over: Partial<Conditions> = {
        Placed: ['False', 'Released', 'the group has ended'],
        Running: ['False', 'Finished', 'the group has ended'],
      };
      if (!end)
        return { ...base, ...over, Succeeded: ['True', 'AllRanksSucceeded', 'every rank exited with 0'] };
      const failed: State = ['True', end.reason, end.exit.message];
      return { ...base, ...over, Failed: failed, Stalled: failed };
    }
  }
}

/** Why a group is frozen, or ended, that was to be saved. */
function unsaved(seen: Seen): string {
  if (suspensionStateOf(seen) !== 'Failed') return '';
  return `, since it could not be saved: ${suspensionFailure(seen)}`;
}

function savingText({ saving }: Seen): string {
  const ready = saving?.status?.conditions?.find(({ type }) => type === 'Ready');
  return ready?.message ?? 'a Checkpoint was asked for';
}

function lastCheckpointOf({ lastCheckpoint }: Seen): ProcessGroupStatus['lastCheckpoint'] {
  if (!lastCheckpoint) return undefined;
  const { metadata, status = {} } = lastCheckpoint;
  return {
    name: metadata.name ?? '',
    ...(status.cutTime === undefined ? {} : { time: status.cutTime }),
    durable: isTrue(status.conditions, 'Durable'),
    ...(status.imageSize === undefined ? {} : { imageSize: status.imageSize }),
  };
}

/** Where a group that is started again goes on; undefined: at its beginning. */
function againFrom({ group, retry, fallback }: Seen): ProcessGroupStatus['restore'] {
  const { restore } = group.status ?? {};
  if (retry && restore) return withFailures(restore, retry.failures);
  return fallback && recordOf(fallback);
}

/** Of a group that begins at its beginning there is none. */
function restoreOf(seen: Seen, phase: Phase): ProcessGroupStatus['restore'] {
  const { group, restore, saving } = seen;
  const from =
    phase === 'Vacating' && isSaved(seen) ? saving : phase === 'Placing' ? restore?.checkpoint : undefined;
  if (!from) return phase === 'Vacating' ? undefined : group.status?.restore;
  const { restore: before } = group.status ?? {};
  return before?.checkpointUid === from.metadata.uid ? { ...before, ...recordOf(from) } : recordOf(from);
}

const recordOf = ({ metadata, status }: Checkpoint): NonNullable<ProcessGroupStatus['restore']> => ({
  checkpointName: metadata.name ?? '',
  checkpointUid: metadata.uid ?? '',
  manifestDigest: status?.manifestDigest ?? '',
});

/** A group in doubt of a node is held by the fence until the node is heard of, or certain to run none of its ranks. */
function holdsOf(seen: Seen, phase: Phase): object {
  const { holds = [] } = seen.group.status ?? {};
  const others = holds.filter(({ name }) => name !== fenceHold && name !== drainHold);
  const isOver = phase === 'Ended' || phase === 'Ending';
  const inDoubt = !isOver && wardenStep(seen).state === 'Doubting';
  const drain = isOver ? undefined : drainHoldOf(seen);
  const nodes = nodesOf(silentOf(seen));
  const message = `nothing is heard of ${nodes}: its ranks stand still since their lease expired; the group starts elsewhere once the lease is over`;
  const since = holds.find(({ name }) => name === fenceHold)?.since ?? timeOf(new Date(seen.nowMs));
  const own = inDoubt ? [{ name: fenceHold, reason: 'NodeSilent', message, since }] : [];
  const all = [...others, ...own, ...(drain ? [drain] : [])];
  return { holds: all.length === 0 ? undefined : all };
}

function restartText(seen: Seen): string {
  if (seen.retry) return `${failureText(seen.retry.failures)}; the group is brought back elsewhere`;
  const silent = silentOf(seen);
  const lost = lostOf(seen);
  const told = conditionOf(seen.group.status?.conditions, 'Running');
  // What was lost has been ended since.
  if (lost.length + silent.length === 0 && told?.reason === 'Restarting') return told.message;
  const pods = lost.flatMap((view) => podLossOf(view) ?? []).slice(0, 4);
  const nodes = nodesOf([...lost, ...silent]);
  const what = pods.length > 0 ? pods.join('; ') : `${nodes === '' ? 'a node' : nodes} is lost`;
  const from = againFrom(seen);
  const where = from
    ? `brought back from Checkpoint ${from.checkpointName}`
    : 'started again from its beginning';
  const wait = silent.length === 0 ? '' : `; waiting until the lease on ${nodesOf(silent)} is over`;
  return `${what}: the group is ${where}${wait}`;
}

function nodesOf(views: readonly SandboxView[]): string {
  const nodes = [...new Set(views.map(({ node }) => node))];
  const rest = nodes.length > 8 ? ` and ${nodes.length - 8} more` : '';
  return nodes.slice(0, 8).join(', ') + rest;
}

/** What is left of a group that goes: who looks at it sees that it is being ended. */
function deletingStatus(seen: Seen): ProcessGroupStatus {
  const { group, nowMs } = seen;
  const before = group.status ?? {};
  if (before.finishTime !== undefined || seen.sandboxes.length === 0) return before;
  const input: ConditionInput = {
    type: 'Running',
    status: 'False',
    reason: 'Stopping',
    message: 'the group is being deleted',
  };
  const conditions = [...setCondition(before.conditions, input, new Date(nowMs))];
  return { ...before, phase: 'Stopping', conditions, ranks: ranksOf(seen, false) };
}

function hasStarted(seen: Seen, phase: Phase): boolean {
  return (
    phase === 'Running' ||
    (phase === 'Ended' &&
      seen.sandboxes.length > 0 &&
      seen.sandboxes.every((view) => (view.known?.fact.ranksStartedNs ?? 0) > 0))
  );
}

function someEnded(seen: Seen): boolean {
  return seen.sandboxes.some((view) => view.known && countsOf(view.known.fact).ended > 0);
}

interface Counts {
  readonly succeeded: number;
  readonly startFailed: number;
  readonly failed: number;
  readonly ended: number;
}

const countsByFact = new WeakMap<SandboxFact, Counts>();

function countsOf(fact: SandboxFact): Counts {
  let counts = countsByFact.get(fact);
  if (!counts) {
    const succeeded = fact.succeeded === '' ? 0 : RankSet.parse(fact.succeeded).size;
    const startFailed = fact.failures.filter((end) => end.stage !== 0).length;
    const failures = Math.max(fact.failuresTotal, fact.failures.length);
    counts = { succeeded, startFailed, failed: failures - startFailed, ended: succeeded + failures };
    countsByFact.set(fact, counts);
  }
  return counts;
}

function ranksOf(seen: Seen, ended: boolean): ProcessGroupRanks {
  const desired = seen.group.spec.size ?? 0;
  const sum = { running: 0, succeeded: 0, failed: 0, startFailed: 0 };
  for (const { known, state } of seen.sandboxes) {
    if (!known) continue;
    const counts = countsOf(known.fact);
    if (state === 'Live') sum.running += known.fact.ranksRunning;
    sum.succeeded += counts.succeeded;
    sum.failed += counts.failed;
    sum.startFailed += counts.startFailed;
  }
  return { desired, ...sum, summary: `${ended ? sum.succeeded : sum.running}/${desired}` };
}

function exitSummary(seen: Seen, end: Verdict | undefined): ProcessGroupExitSummary {
  const exitCodes = exitCountsOf(seen.sandboxes);
  const codes = exitCodes.length === 0 ? {} : { exitCodes };
  if (end) return { ...end.exit, ...codes };
  return { code: 0, reason: 'AllRanksSucceeded', message: 'every rank exited with 0', ...codes };
}

const mostExitWays = 12;
const mostRanksText = 100;

function exitCountsOf(sandboxes: readonly SandboxView[]): ProcessGroupExitSummaryExitCount[] {
  const ways = new Map<string, { code?: number; signal?: string; count: number; ranks: number[] }>();
  const succeeded = sandboxes.reduce(
    (sum, { known }) => sum + (known ? countsOf(known.fact).succeeded : 0),
    0,
  );
  for (const end of sandboxes.flatMap(({ known }) => known?.fact.failures ?? [])) {
    if (end.stage !== 0) continue;
    const way = exitOf(end.waitStatus);
    const key = way.signal ?? String(way.code);
    const sum = ways.get(key) ?? { ...way, count: 0, ranks: [] };
    sum.count += 1;
    sum.ranks.push(end.rank);
    ways.set(key, sum);
  }
  const failed = [...ways.values()].map(({ ranks, ...way }) => ({
    ...way,
    ranks: cut(RankSet.from(ranks).toString()),
  }));
  const all: ProcessGroupExitSummaryExitCount[] =
    succeeded > 0 ? [{ code: 0, count: succeeded }, ...failed] : failed;
  return all.sort((a, b) => b.count - a.count).slice(0, mostExitWays);
}

function cut(ranks: string): string {
  return ranks.length <= mostRanksText ? ranks : `${ranks.slice(0, ranks.lastIndexOf(',', mostRanksText))},`;
}

function awayText(away: readonly SandboxView[]): string {
  const nodes = [...new Set(away.map(({ node }) => node))];
  const shown = nodes.slice(0, 8).join(', ');
  const rest = nodes.length > 8 ? ` and ${nodes.length - 8} more` : '';
  return `nothing is heard of ranks on ${shown}${rest}: start the agent there again; the ranks go on by themselves`;
}

function networkOf(
  { group, networkClaim, networkEncryption, networkFamilies }: Seen,
  phase: Phase,
): ProcessGroupStatus['network'] {
  if (phase !== 'Placing') return group.status?.network;
  if (!networkClaim) return undefined;
  const { subnet, vni } = networkClaim;
  return {
    subnet,
    vni,
    ...(networkFamilies === 'DualStack' ? { subnet6: subnetSixOf(vni) } : {}),
    ...(networkEncryption === undefined ? {} : { encryption: networkEncryption }),
  };
}

function resolvedOf({ group, network }: Seen): ProcessGroupStatus['resolved'] {
  const { spec } = group;
  const { uid, gid } = identityOf(group);
  return {
    network,
    suspendPolicy: suspendPolicyOf(group),
    pmi: spec.pmi === 'None' ? 'None' : 'PMI1',
    runAsUser: uid,
    runAsGroup: gid,
  };
}

/** Fields that are to be gone are spread as undefined, and dropped where the status is written. */
function without(time: Pick<ProcessGroupStatus, 'activeSince' | 'activeSeconds'>): object {
  return { activeSince: undefined, activeSeconds: undefined, ...time };
}
