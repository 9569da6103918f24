/**
 * The phases that a group was in, and since when: kept in its status, so that who shows a timeline knows suspensions and resumptions
 * also from before controllers were last started. Bounded: the launch and the latest are kept, what lies between is let go. Pure; it
 * decides nothing.
 */
import type { ProcessGroupStatus } from '../../crds/types.gen.ts';

type Phases = NonNullable<ProcessGroupStatus['phases']>;

export const mostPhases = 24;
const ofLaunch = 3;

/** The status with its phase noted, when that is another than before; times never go back, whatever the clock does. */
export function withPhaseNoted(
  before: ProcessGroupStatus,
  after: ProcessGroupStatus,
  nowMs: number,
): ProcessGroupStatus {
  const { phase } = after;
  const known = phasesOf(before);
  const last = known.at(-1);
  const isNoted = before.finishTime !== undefined || (last?.phase === phase && before.phases !== undefined);
  if (phase === undefined || isNoted) return after;
  const sinceMs = Math.max(nowMs, Date.parse(last?.since ?? '') || 0);
  const phases =
    last?.phase === phase ? known : [...known, { phase, since: new Date(sinceMs).toISOString() }];
  const surplus = Math.max(0, phases.length - mostPhases);
  return { ...after, phases: phases.toSpliced(ofLaunch, surplus) };
}

/** Of a status from before phases were noted, what its times tell. */
export function phasesOf({ phases, phase, startTime, runningTime, finishTime }: ProcessGroupStatus): Phases {
  if (phases) return phases;
  const told: readonly (readonly [Phases[number]['phase'], string | undefined])[] = [
    ['Starting', startTime],
    ['Running', runningTime],
    [phase ?? 'Pending', finishTime],
  ];
  return told.flatMap(([name, since]) => (since === undefined ? [] : [{ phase: name, since }]));
}
