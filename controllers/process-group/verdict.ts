/**
 * Why a group has to end, if it has to: the first rank that failed, a limit, a client that is gone, a lost sandbox. Pure.
 * Once written to status (exitSummary, with Running False and reason Stopping) a verdict stands, unless it turns out to follow
 * from a failure that is told of later.
 */
import { constants } from 'node:os';
import { conditionOf, type Reason } from '../../crds/conditions.ts';
import { RankSet } from '../../crds/rank-set.ts';
import type { ProcessGroupExitSummary, ProcessGroupSpec } from '../../crds/types.gen.ts';
import type { BrokenFence, RankEnd, SandboxFact } from '../../wire/agent-types.ts';
import { causeOf, isOriginal, type FoundCause } from './cause.ts';
import type { SandboxView, Seen } from './seen.ts';
import { putsOffEnd, unsavedText } from './final-checkpoint.ts';
import { failureText, isRetried, recordedFailures } from './restore-retry.ts';
import {
  fencedOf,
  isClearing,
  isUncarried,
  lostOf,
  mostRestarts,
  podLossOf,
  restarts,
  startsElsewhere,
} from './warden.ts';
import { activeMsOf } from './wall-time.ts';

export interface Verdict {
  readonly reason: Reason;
  readonly exit: ProcessGroupExitSummary & { readonly reason: string; readonly message: string };
}

const signalNames = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** Of a group whose ranks are ended to give back its nodes, how they end says nothing. */
export function verdictOf(seen: Seen): Verdict | undefined {
  const stored = storedVerdict(seen);
  if (stored) return consequences.has(stored.reason) ? (originOf(seen) ?? stored) : stored;
  if (isVacating(seen) || isClearing(seen.group)) return requestOf(seen);
  return failureOf(seen) ?? limitOf(seen) ?? requestOf(seen);
}

/** It is on record that the ranks are being ended for a suspension, whatever spec says by now. */
export function isVacating({ group }: Seen): boolean {
  return conditionOf(group.status?.conditions, 'Suspended')?.reason === 'Vacating';
}

/** The verdict on record of a group that is being ended. */
export function storedVerdict({ group }: Seen): Verdict | undefined {
  const { status } = group;
  const exit = status?.exitSummary;
  if (exit?.reason === undefined || status?.finishTime !== undefined) return undefined;
  if (conditionOf(status?.conditions, 'Running')?.reason !== 'Stopping') return undefined;
  return {
    reason: reasonOf(exit.reason),
    exit: { ...exit, reason: exit.reason, message: exit.message ?? '' },
  };
}

const consequences: ReadonlySet<Reason> = new Set<Reason>(['Aborted', 'RankFailed']);

/** A failure that does not follow from another one, though it may be told of after those that follow from it. */
function originOf(seen: Seen): Verdict | undefined {
  const found = causeOf(seen.sandboxes, seen.group.spec.failurePolicy?.rank === 'Continue');
  return found && isOriginal(found.cause) ? causeVerdict(found, seen) : undefined;
}

/** What ends the group by itself: a failed rank or sandbox, one that is lost. */
function failureOf(seen: Seen): Verdict | undefined {
  // First: ranks that are killed along with their Pod die of that, whatever signal they got.
  const uncarried = startsElsewhere(seen.group.spec) ? undefined : lostOf(seen).find(isUncarried);
  if (uncarried) return carrierVerdict(uncarried);
  if (isRetried(seen)) return undefined;
  const exhausted = exhaustedVerdict(seen);
  if (exhausted) return exhausted;
  const found = causeOf(seen.sandboxes, seen.group.spec.failurePolicy?.rank === 'Continue');
  if (isNodesFault(seen, found)) return undefined;
  if (found) return causeVerdict(found, seen);
  for (const view of seen.sandboxes) {
    if (view.known?.fact.limitExceeded)
      return limitVerdict(view, view.known.fact.limitExceeded, seen.group.spec);
    if (view.state === 'Lost') return lossVerdict(view);
  }
  return undefined;
}

/** Of a group that ran to its end in spite of failures: the first of them. */
export function firstFailure(seen: Seen): Verdict | undefined {
  const failed = seen.sandboxes
    .filter((view) => view.known?.failureOrder !== undefined)
    .sort((a, b) => a.known!.failureOrder! - b.known!.failureOrder!);
  for (const view of failed) {
    const { fact } = view.known!;
    if (fact.failures[0]) return endVerdict(view, fact.failures[0], fact, seen.group.spec);
  }
  return undefined;
}

/** Of a group that is over without a failure: ranks of which nobody has said that they succeeded. */
export function unaccounted(seen: Seen): Verdict | undefined {
  for (const view of seen.sandboxes) {
    const succeeded = view.known?.fact.succeeded ?? '';
    const missing = RankSet.parse(view.ranks).minus(RankSet.parse(succeeded));
    if (missing.size === 0) continue;
    const text = `ranks ${shortRanks(missing.toString())} on ${view.node} ended, and it is not known how`;
    return verdict('SandboxFailed', { node: view.node }, text);
  }
  return undefined;
}

/** Of a group that is started again when it loses a node: whether a failure is to wait for what comes of that. */
function isNodesFault(seen: Seen, found: FoundCause | undefined): boolean {
  if (!restarts(seen.group)) return false;
  if (lostOf(seen).length > 0) return true;
  const isAway = ({ standing, state }: SandboxView): boolean => standing !== 'Connected' && state !== 'Over';
  return found !== undefined && !isOriginal(found.cause) && seen.sandboxes.some(isAway);
}

/** A node is lost once more than the group may be started again. */
function exhaustedVerdict(seen: Seen): Verdict | undefined {
  const { spec, status } = seen.group;
  if (!startsElsewhere(spec) || restarts(seen.group)) return undefined;
  const lost = lostOf(seen)[0] ?? fencedOf(seen)[0];
  if (!lost) return undefined;
  const times = status?.restarts ?? 0;
  const what = podLossOf(lost) ?? `node ${lost.node} is lost`;
  const text = `${what}, with ranks ${shortRanks(lost.ranks)}; the group was started again ${times} of failurePolicy.maxRestarts, ${mostRestarts(spec)}, times`;
  return verdict('RestartsExhausted', { node: lost.node }, text);
}

/** Reasons that a failed sandbox gives. */
const sandboxReasons = [
  'CarrierLost',
  'LeaseExpired',
  'NodeLost',
  'StartFailed',
  'NotAllowed',
  'RestoreFailed',
  'ImageDamaged',
] as const satisfies Reason[];

function causeVerdict({ view, cause }: FoundCause, seen: Seen): Verdict {
  const { spec } = seen.group;
  const { fact } = view.known!;
  switch (cause.kind) {
    case 'limit':
      return limitVerdict(view, cause.limit, spec);
    case 'notStarted':
    case 'crash':
    case 'exit':
      return endVerdict(view, cause.end, fact, spec);
    case 'abort': {
      const { rank, exitCode, message } = cause.abort;
      const text = message === '' ? '' : `: ${message.slice(0, 500)}`;
      return verdict(
        'Aborted',
        { rank, ...named(rank, spec), code: exitCode, node: view.node },
        `rank ${rank} on ${view.node} called MPI_Abort with code ${exitCode}${text}`,
      );
    }
    case 'brokenFence':
      return brokenVerdict(view, cause.broken, seen);
    case 'sandbox': {
      const reason = sandboxReasons.find((each) => each === fact.reason) ?? 'SandboxFailed';
      const text = `${fact.message === '' ? fact.reason : fact.message}${keptText(seen)}`;
      return verdict(
        reason,
        { node: view.node },
        `sandbox ${view.ordinal} (ranks ${shortRanks(view.ranks)}) on ${view.node}: ${text}`,
      );
    }
  }
}

/** What failed before it ran is not lost with the group. */
function keptText({ group }: Seen): string {
  const { status } = group;
  if (!status?.restore || status.runningTime !== undefined) return '';
  const { checkpointName } = status.restore;
  const before = failureText(recordedFailures(group));
  return `${before === '' ? '' : `; before that, ${before}`}; Checkpoint ${checkpointName} is kept: muster restart ${checkpointName} tries again`;
}

/** The cause is the rank that left: those that wait for it are on any node. */
function brokenVerdict(waiting: SandboxView, broken: BrokenFence, seen: Seen): Verdict {
  const { rank, message } = broken;
  if (rank < 0) {
    const text = `ranks ${shortRanks(waiting.ranks)} on ${waiting.node} wait in a fence of MPI that failed: ${message}`;
    return verdict('SandboxFailed', { node: waiting.node }, text);
  }
  const view = seen.sandboxes.find(({ ranks }) => RankSet.parse(ranks).has(rank));
  const succeeded = RankSet.parse(view?.known?.fact.succeeded ?? '').has(rank);
  return verdict(
    'RankFailed',
    {
      rank,
      ...named(rank, seen.group.spec),
      ...(succeeded ? { code: 0 } : {}),
      ...(view ? { node: view.node } : {}),
    },
    `rank ${rank}${view ? ` on ${view.node}` : ''} ${succeeded ? 'exited with 0' : 'ended'} while other ranks wait for it in MPI`,
  );
}

function endVerdict(view: SandboxView, end: RankEnd, fact: SandboxFact, spec: ProcessGroupSpec): Verdict {
  const { rank } = end;
  const base = { rank, ...named(rank, spec), node: view.node };
  const where = `rank ${rank} on ${view.node}`;
  if (end.stage !== 0)
    return verdict(
      'StartFailed',
      base,
      `${where} could not be started: ${end.message || `error ${end.error}`}`,
    );
  const { code, signal } = exitOf(end.waitStatus);
  if (signal !== undefined) {
    const oom = fact.oomKills > 0 && signal === 'SIGKILL';
    const text = oom
      ? `${where} was killed for want of memory (${signal})`
      : `${where} was ended by ${signal}`;
    return verdict(oom ? 'MemoryExceeded' : 'RankSignaled', { ...base, signal }, text);
  }
  const early = end.withoutFinalize ? ' without MPI_Finalize' : '';
  const forks = fact.forksRefused > 0 ? "; its processes had reached the node's processesPerSandbox" : '';
  return verdict(
    'RankFailed',
    { ...base, code: code ?? 0 },
    `${where} exited with ${code ?? 0}${early}${forks}`,
  );
}

/** As waitpid(2). */
export function exitOf(waitStatus: number): { code?: number; signal?: string } {
  const number = waitStatus & 0x7f;
  if (number === 0) return { code: (waitStatus >> 8) & 0xff };
  return { signal: signalNames.get(number) ?? `SIG${number}` };
}

/** The limit is that of all ranks of the sandbox; the one that ended first for want of memory is named. */
function limitVerdict(view: SandboxView, limit: string, spec: ProcessGroupSpec): Verdict {
  if (limit === 'carrier')
    return carrierVerdict({ ...view, carrierLoss: view.carrierLoss ?? 'its carrier Pod has ended' });
  const memory = limit === 'memory';
  const field = memory ? 'limits.memory or resources.limits.memory' : 'limits.cpuTimeSeconds';
  const ended = memory ? view.known?.fact.failures.find((end) => !end.byUs) : undefined;
  const who =
    ended === undefined ? {} : { rank: ended.rank, ...named(ended.rank, spec), ...exitOf(ended.waitStatus) };
  const text = `ranks ${shortRanks(view.ranks)} on ${view.node} used more than ${field} lets them`;
  return verdict(
    memory ? 'MemoryExceeded' : 'CpuTimeExceeded',
    { ...who, node: view.node },
    ended === undefined ? text : `rank ${ended.rank} on ${view.node} was ended for want of memory: ${text}`,
  );
}

function carrierVerdict({ ordinal, ranks, node, carrierLoss }: SandboxView): Verdict {
  return verdict(
    'CarrierLost',
    { node },
    `sandbox ${ordinal} (ranks ${shortRanks(ranks)}) on ${node} loses its root: ${carrierLoss}`,
  );
}

function lossVerdict(view: SandboxView): Verdict {
  const rebooted =
    view.loss !== undefined &&
    view.loss.bootIdBefore !== '' &&
    view.loss.bootIdBefore !== view.loss.bootIdNow;
  const text = rebooted ? 'was rebooted' : 'came back without them';
  return verdict(
    'NodeLost',
    { node: view.node },
    `ranks ${shortRanks(view.ranks)} are lost: node ${view.node} ${text}`,
  );
}

function limitOf(seen: Seen): Verdict | undefined {
  const { wallTimeSeconds, cpuTimeSeconds } = seen.group.spec.limits ?? {};
  const isUp =
    wallTimeSeconds !== undefined && activeMsOf(seen.group.status, seen.nowMs) >= wallTimeSeconds * 1000;
  if (isUp && !putsOffEnd(seen)) {
    const text = `the group ran for limits.wallTimeSeconds, ${wallTimeSeconds} s${unsavedText(seen)}`;
    return verdict('WallTimeExceeded', {}, text);
  }
  if (cpuTimeSeconds !== undefined) {
    const usedSeconds = seen.sandboxes.reduce((sum, view) => sum + (view.known?.fact.cpuUs ?? 0), 0) / 1e6;
    if (usedSeconds >= cpuTimeSeconds) {
      return verdict(
        'CpuTimeExceeded',
        {},
        `all ranks together used limits.cpuTimeSeconds, ${cpuTimeSeconds} s`,
      );
    }
  }
  return undefined;
}

function requestOf({ endRequest, clientLeaseLeftMs }: Seen): Verdict | undefined {
  if (endRequest)
    return {
      reason: reasonOf(endRequest.reason),
      exit: { reason: endRequest.reason, message: endRequest.message },
    };
  if (clientLeaseLeftMs === undefined || clientLeaseLeftMs > 0) return undefined;
  return verdict(
    'ClientGone',
    {},
    'the client that started the group in the foreground has been gone for 30 s',
  );
}

function verdict(reason: Reason, exit: ProcessGroupExitSummary, message: string): Verdict {
  return { reason, exit: { ...exit, reason, message: message.slice(0, 4000) } };
}

/** Reasons that exitSummary may have beyond those of conditions stand there as Deleted. */
function reasonOf(text: string): Reason {
  const known: readonly Reason[] = [
    'RankFailed', 'RankSignaled', 'StartFailed', 'SandboxFailed', 'NodeLost', 'WallTimeExceeded', 'CpuTimeExceeded',
    'MemoryExceeded', 'ClientGone', 'Aborted', 'NotAllowed', 'Saved', 'CarrierLost', 'LeaseExpired', 'RestartsExhausted',
    'NodeDrained', 'RestoreFailed', 'ImageDamaged',
  ]; // prettier-ignore
  return known.find((reason) => reason === text) ?? 'Deleted';
}

function named(rank: number, spec: ProcessGroupSpec): { processName?: string } {
  const process = (spec.processes ?? []).find(({ ranks }) => RankSet.parse(ranks).has(rank));
  return process ? { processName: process.name } : {};
}

function shortRanks(ranks: string): string {
  return ranks.length > 80 ? `${ranks.slice(0, 77)}...` : ranks;
}
