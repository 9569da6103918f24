/**
 * What to do in each phase: pure, idempotent actions in order. Those of `before` are carried out before status is written,
 * those of `after` once it is on disk: agents are told only what a restarted controller would tell them again.
 */
import { annotations, finalizers } from '../../crds/names.ts';
import type { Wish } from '../hub/desired-book.ts';
import { isHeld } from '../carrier/gang.ts';
import type { Share } from '../carrier/split.ts';
import type { CarrierView } from '../carrier/view.ts';
import type { Checkpoint } from '../../crds/types.gen.ts';
import { dueInMs, isDueOnSuspend, notKept } from './checkpoint-policy.ts';
import { drainDueInMs, isSpent, suspensionWish } from './drain.ts';
import { finalDueInMs } from './final-checkpoint.ts';
import type { Phase } from './phase.ts';
import { isOver } from './phase.ts';
import type { SandboxView, Seen } from './seen.ts';
import { isSaved } from './suspension.ts';
import { activeMsOf } from './wall-time.ts';
import { warnedOf } from './status.ts';
import { wardenDueInMs } from './warden.ts';

export type Action =
  | { readonly kind: 'addFinalizer' }
  /** Agents are to hold the group's sandboxes, each with its wish. */
  | { readonly kind: 'want'; readonly wishOf: (view: SandboxView) => Wish }
  /** Agents are to forget its sandboxes, which have ended; others may follow. */
  | { readonly kind: 'vacate'; readonly keepNetwork: boolean }
  /** The checkpoint of a suspension. */
  | { readonly kind: 'save' }
  | { readonly kind: 'dropSaving' }
  /** By the group's own policy. */
  | { readonly kind: 'takeCheckpoint' }
  /** Before the wall time ends. */
  | { readonly kind: 'takeFinal' }
  | { readonly kind: 'dropCheckpoints'; readonly checkpoints: readonly Checkpoint[] }
  /** The time of the latest checkpoint, for schedulers; undefined: there is none any more. */
  | { readonly kind: 'noteCheckpoint'; readonly time: string | undefined }
  /** Its network may be another's. */
  | { readonly kind: 'releaseNetwork' }
  /** Agents are to end and forget all of it. */
  | { readonly kind: 'remove' }
  | { readonly kind: 'dropFinalizer'; readonly lostNodes: readonly string[] }
  | { readonly kind: 'deleteObject' }
  /** Pods for sandboxes that have none yet, and Pods that no sandbox needs any more. */
  | {
      readonly kind: 'carriers';
      readonly make: readonly Share[];
      readonly release: readonly CarrierView[];
      readonly why?: string | undefined;
    }
  | { readonly kind: 'warn' };

export interface Plan {
  readonly before: readonly Action[];
  readonly after: readonly Action[];
  /** When to look again though nothing has changed. */
  readonly againAfterMs?: number | undefined;
}

const nothing: Plan = { before: [], after: [] };
/** Beyond the grace period, until an agent that should have killed is told to. */
const patienceMs = 2_000;
/** For an agent that never held the group, and so has nothing to say of it. */
const forgetWithinMs = 2_000;
const soonMs = 5;
/** A deletion waits for no word alone: a node that is away may have become one that is lost. */
const awayAgainMs = 10_000;
const restoreEveryMs = 1000;
const rangesEveryMs = 30_000;

const plan = {
  Deleting: deleting,
  Finished: finished,
  Invalid: () => nothing,
  NotSupported: () => nothing,
  Held: lease,
  Pending: pending,
  Placing: (seen) => ({ ...run(seen), before: hasFinalizer(seen) ? [] : [{ kind: 'addFinalizer' }] }),
  Starting: run,
  Running: running,
  Suspending: (seen) => freeze(seen, true),
  Frozen: (seen) => {
    const own = freeze(seen, false);
    return isDueOnSuspend(seen) ? { ...own, after: [...own.after, { kind: 'takeCheckpoint' }] } : own;
  },
  Saving: (seen) => ({ ...run(seen), before: seen.saving ? [] : [{ kind: 'save' }] }),
  Resuming: run,
  Vacating: (seen) => ({
    ...nothing,
    after: [wanted(seen, isSaved(seen) ? 'Kill' : 'End')],
    againAfterMs: seen.clientLeaseLeftMs,
  }),
  Vacated: (seen) => ({
    ...nothing,
    after: [{ kind: 'vacate', keepNetwork: isSaved(seen) }],
    againAfterMs: soonMs,
  }),
  Restarting: (seen) => ({ ...nothing, after: [wanted(seen, 'Kill')], againAfterMs: nextMs(seen, false) }),
  Restarted: () => ({
    ...nothing,
    after: [{ kind: 'vacate', keepNetwork: true }],
    againAfterMs: soonMs,
  }),
  Ending: ending,
  Ended: (seen) => ({ ...nothing, after: [kept(), ...releases(seen)] }),
} satisfies Record<Phase, (seen: Seen) => Plan>;

export function planOf(seen: Seen, phase: Phase): Plan {
  const own = withNote(seen, phase, plan[phase](seen));
  const action = carrierAction(seen, phase, own);
  if (!action) return own;
  // Whoever is deleted has to let its Pods go before nobody looks any more.
  const after = phase === 'Deleting' ? [action, ...own.after] : [...own.after, action];
  const againAfterMs = Math.min(own.againAfterMs ?? Infinity, seen.carriers?.gang?.againAfterMs ?? Infinity);
  return { ...own, after, ...(againAfterMs === Infinity ? {} : { againAfterMs }) };
}

function withNote({ group, lastCheckpoint }: Seen, phase: Phase, own: Plan): Plan {
  const noted = group.metadata.annotations?.[annotations.lastCheckpoint.name];
  const time = lastCheckpoint?.status?.cutTime;
  if (phase === 'Deleting' || noted === time) return own;
  return { ...own, after: [...own.after, { kind: 'noteCheckpoint', time }] };
}

function carrierAction(seen: Seen, phase: Phase, own: Plan): Action | undefined {
  if (!seen.carriers) return undefined;
  const { views, gang } = seen.carriers;
  switch (phase) {
    case 'Pending':
    case 'Placing':
      return gang && { kind: 'carriers', make: gang.make, release: gang.release, why: gang.why };
    case 'Vacating':
    case 'Restarting':
      return letGo(seen.sandboxes.every((view) => isOver(view, false)) ? views : []);
    case 'Deleting':
      return letGo(
        own.after.some(({ kind }) => kind === 'dropFinalizer') || !hasFinalizer(seen) ? views : [],
      );
    case 'Invalid':
    case 'NotSupported':
    case 'Held':
    case 'Vacated':
    case 'Restarted':
    case 'Ended':
    case 'Finished':
      return letGo(views);
    default: {
      // Those of incarnations that are to come are a Migration's.
      const isPast = ({ ordinal, incarnation }: CarrierView): boolean =>
        incarnation < (seen.sandboxes[ordinal]?.incarnation ?? Infinity);
      return letGo(views.filter(isPast));
    }
  }
}

function letGo(views: readonly CarrierView[]): Action | undefined {
  const release = views.filter(isHeld);
  return release.length === 0 ? undefined : { kind: 'carriers', make: [], release };
}

function lease(seen: Seen): Plan {
  return { ...nothing, againAfterMs: seen.clientLeaseLeftMs };
}

/** What a restore needs (its addresses, nodes with its images), and addresses of the cluster, come free without anybody telling. */
function pending(seen: Seen): Plan {
  const own = lease(seen);
  const { placing } = seen;
  const isForNetwork = placing?.kind === 'waiting' && placing.reason === 'NoNetworkFree';
  const againAfterMs = Math.min(
    own.againAfterMs ?? Infinity,
    seen.restore ? restoreEveryMs : Infinity,
    isForNetwork ? rangesEveryMs : Infinity,
  );
  return againAfterMs === Infinity ? own : { ...own, againAfterMs };
}

function run(seen: Seen): Plan {
  const warn: Action[] = warningDueInMs(seen) === 0 && !warnedOf(seen.group.status) ? [{ kind: 'warn' }] : [];
  return {
    before: [],
    after: [wanted(seen, 'Run'), ...drops(seen), ...warn],
    againAfterMs: nextMs(seen, true),
  };
}

function freeze(seen: Seen, counts: boolean): Plan {
  return { ...nothing, after: [wanted(seen, 'Freeze'), ...drops(seen)], againAfterMs: nextMs(seen, counts) };
}

/** A suspension that was called off is not to hold anybody. */
const drops = (seen: Seen): Action[] => (isSpent(seen) ? [{ kind: 'dropSaving' }] : []);

function running(seen: Seen): Plan {
  const own = run(seen);
  const suspends = suspensionWish(seen) !== undefined;
  const dueMs = suspends ? undefined : dueInMs(seen);
  const finalMs = suspends ? undefined : finalDueInMs(seen);
  const old = notKept(seen);
  const after: Action[] = [
    ...own.after,
    ...(dueMs === 0 ? [{ kind: 'takeCheckpoint' } as const] : []),
    ...(finalMs === 0 ? [{ kind: 'takeFinal' } as const] : []),
    ...(old.length > 0 ? [{ kind: 'dropCheckpoints', checkpoints: old } as const] : []),
  ];
  const times = [own.againAfterMs, dueMs, finalMs].filter((ms) => ms !== undefined && ms > 0);
  return times.length === 0
    ? { ...own, after }
    : { ...own, after, againAfterMs: Math.min(...(times as number[])) };
}

function ending(seen: Seen): Plan {
  const { group, nowMs, endRequest } = seen;
  const graceMs = graceSecondsOf(seen) * 1000;
  const stopping = group.status?.conditions?.find(
    ({ type, reason }) => type === 'Running' && reason === 'Stopping',
  );
  const sinceMs = stopping ? Date.parse(stopping.lastTransitionTime) : nowMs;
  // Condition times are whole seconds, hence one more.
  const leftMs = sinceMs + graceMs + patienceMs + 1000 - nowMs;
  const want = endRequest?.kill === true || leftMs <= 0 ? 'Kill' : 'End';
  return { ...nothing, after: [wanted(seen, want)], againAfterMs: want === 'End' ? leftMs : undefined };
}

function finished(seen: Seen): Plan {
  const { ttlSecondsAfterFinished } = seen.group.spec;
  const { finishTime } = seen.group.status ?? {};
  const after: Action[] = seen.sandboxes.length > 0 ? [kept()] : [];
  if (ttlSecondsAfterFinished === undefined || finishTime === undefined) return { ...nothing, after };
  const leftMs = Date.parse(finishTime) + ttlSecondsAfterFinished * 1000 - seen.nowMs;
  if (leftMs <= 0) return { ...nothing, after: [...after, { kind: 'deleteObject' }] };
  return { ...nothing, after, againAfterMs: leftMs };
}

/** First the ranks are ended, then agents forget the group, then the object may go. A lost node holds up neither. */
function deleting(seen: Seen): Plan {
  if (!hasFinalizer(seen)) return { ...nothing, after: [{ kind: 'remove' }] };
  const { sandboxes, nowMs, group } = seen;
  if (seen.removedForMs === undefined && !sandboxes.every((view) => isOver(view, true))) {
    const graceMs = graceSecondsOf(seen) * 1000;
    // deletionTimestamp lies where the deletion was asked for; a grace period of the deletion is not added to it here.
    const leftMs = Date.parse(group.metadata.deletionTimestamp!) + graceMs + patienceMs + 1000 - nowMs;
    const want = graceMs === 0 || leftMs <= 0 || seen.endRequest?.kill === true ? 'Kill' : 'End';
    return { ...nothing, after: [wanted(seen, want)], againAfterMs: want === 'End' ? leftMs : awayAgainMs };
  }
  if (sandboxes.length === 0) return { ...nothing, after: [{ kind: 'dropFinalizer', lostNodes: [] }] };
  const { removedForMs } = seen;
  if (removedForMs === undefined) return { ...nothing, after: [{ kind: 'remove' }], againAfterMs: soonMs };
  if (!sandboxes.every((view) => isForgotten(view, removedForMs))) {
    const silent = sandboxes.some((view) => view.standing === 'Connected' && !view.known);
    const leftMs = Math.max(soonMs, forgetWithinMs - removedForMs);
    return { ...nothing, after: [{ kind: 'remove' }], againAfterMs: silent ? leftMs : awayAgainMs };
  }
  const lostNodes = sandboxes
    .filter((view) => view.standing === 'Lost' && !view.forgotten)
    .map(({ node }) => node);
  return { ...nothing, after: [{ kind: 'dropFinalizer', lostNodes }] };
}

function isForgotten(view: SandboxView, removedForMs: number): boolean {
  if (view.forgotten || view.standing === 'Lost') return true;
  return view.standing === 'Connected' && !view.known && removedForMs >= forgetWithinMs;
}

function wanted(seen: Seen, want: Wish['want']): Action {
  const graceSeconds = graceSecondsOf(seen);
  const hasRun = seen.group.status?.runningTime !== undefined;
  return {
    kind: 'want',
    wishOf: (view) => ({ want, graceSeconds, mayStart: !hasRun && !view.known && !view.loss }),
  };
}

/** What runs on a lost node may still use it: given back when the group is deleted. */
function releases({ group, sandboxes }: Seen): Action[] {
  if (!group.status?.network || !sandboxes.every(({ state }) => state === 'Over')) return [];
  return [{ kind: 'releaseNetwork' }];
}

/** Logs of ended sandboxes are kept; one that has not ended is killed, by an agent that comes back with it too. */
function kept(): Action {
  const wishOf = (view: SandboxView): Wish => ({
    want: view.state === 'Over' || !view.known ? 'Keep' : 'Kill',
    graceSeconds: 0,
    mayStart: false,
  });
  return { kind: 'want', wishOf };
}

function graceSecondsOf({ group }: Seen): number {
  return group.metadata.deletionGracePeriodSeconds ?? group.spec.gracePeriodSeconds ?? 10;
}

export function hasFinalizer({ group }: Seen): boolean {
  return group.metadata.finalizers?.includes(finalizers.ranks.name) ?? false;
}

/** 0 when it is due; undefined when none is asked for. */
function warningDueInMs(seen: Seen): number | undefined {
  const { wallTimeSeconds, warningSeconds } = seen.group.spec.limits ?? {};
  if (wallTimeSeconds === undefined || warningSeconds === undefined) return undefined;
  return Math.max(0, (wallTimeSeconds - warningSeconds) * 1000 - activeMsOf(seen.group.status, seen.nowMs));
}

function nextMs(seen: Seen, counts: boolean): number | undefined {
  const { wallTimeSeconds } = seen.group.spec.limits ?? {};
  const times = [seen.clientLeaseLeftMs, wardenDueInMs(seen), drainDueInMs(seen)];
  if (counts && wallTimeSeconds !== undefined) {
    times.push(wallTimeSeconds * 1000 - activeMsOf(seen.group.status, seen.nowMs));
    const warningMs = warningDueInMs(seen);
    if (warningMs !== undefined && warningMs > 0) times.push(warningMs);
  }
  const known = times.filter((ms) => ms !== undefined);
  return known.length === 0 ? undefined : Math.max(1, Math.min(...known));
}
