/**
 * The phases of groups over time, for the timeline: told at every change of a group, begun from what its status says when it is first
 * seen. Bounded; of a group that is gone nothing is kept. Folding is pure.
 */
import { conditionOf } from '../../crds/conditions.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';

export type Past = readonly (readonly [phase: string, sinceMs: number])[];

const mostPhases = 48;

export function foldPast(before: Past | undefined, group: ProcessGroup, nowMs: number): Past {
  const phase = group.status?.phase ?? 'Pending';
  if (before === undefined) return isNew(group, nowMs) ? [[phase, nowMs]] : pastOf(group, nowMs);
  if (before.at(-1)?.[0] === phase) return before;
  const past = [...before, [phase, nowMs] as const];
  // The first phases tell of the launch and are kept; the oldest of what came after is let go.
  return past.length > mostPhases ? [...past.slice(0, 4), ...past.slice(5)] : past;
}

/** Times in objects are whole seconds: of one that has just been made the clock knows better. */
function isNew({ metadata, status }: ProcessGroup, nowMs: number): boolean {
  const ageMs = nowMs - Date.parse(metadata.creationTimestamp ?? '');
  return ageMs < 1500 && status?.startTime === undefined;
}

/** What the status of a group tells of its past, in the order of time. */
export function pastOf({ metadata, status = {} }: ProcessGroup, nowMs: number): Past {
  const phase = status.phase ?? 'Pending';
  const at = (text: string | undefined): number | undefined =>
    text === undefined ? undefined : Date.parse(text);
  const suspended = conditionOf(status.conditions, 'Suspended');
  const steps: readonly (readonly [string, number | undefined])[] = [
    ['Pending', at(metadata.creationTimestamp) ?? nowMs],
    ['Starting', at(status.startTime)],
    ['Running', at(status.runningTime)],
    ['Suspended', suspended?.status === 'True' ? at(suspended.lastTransitionTime) : undefined],
    ['Running', resumedMs(status.runningTime, suspended)],
  ];
  const past = steps
    .flatMap(([name, ms]) => (ms === undefined || Number.isNaN(ms) ? [] : [[name, ms] as const]))
    .filter(([, ms], index, all) => index === 0 || ms >= (all[index - 1]?.[1] ?? 0))
    .filter(([name], index, all) => all[index - 1]?.[0] !== name);
  if (past.at(-1)?.[0] === phase) return past;
  const since = at(status.finishTime) ?? latestTransitionMs(status.conditions) ?? nowMs;
  return [...past, [phase, Math.max(since, past.at(-1)?.[1] ?? since)]];
}

/** One that was suspended and is not any more has been running since. */
function resumedMs(
  runningTime: string | undefined,
  suspended: { readonly status: string; readonly lastTransitionTime?: string | undefined } | undefined,
): number | undefined {
  if (runningTime === undefined || suspended?.status !== 'False') return undefined;
  const ms = Date.parse(suspended.lastTransitionTime ?? '');
  return ms > Date.parse(runningTime) + 1000 ? ms : undefined;
}

function latestTransitionMs(
  conditions: readonly { readonly lastTransitionTime?: string | undefined }[] | undefined,
): number | undefined {
  const times = (conditions ?? []).map(({ lastTransitionTime }) => Date.parse(lastTransitionTime ?? ''));
  const known = times.filter((ms) => !Number.isNaN(ms));
  return known.length === 0 ? undefined : Math.max(...known);
}
