/**
 * The events of a ProcessGroup, from its conditions before and after a visit: one for each that came to hold, and for
 * reasons that people wait for. Pure.
 */
import { conditionOf, type ConditionType } from '../../crds/conditions.ts';
import type { ProcessGroupStatus } from '../../crds/types.gen.ts';
import type { EventNote } from '../runtime/event-recorder.ts';

const told: readonly (readonly [ConditionType, EventNote['type']])[] = [
  ['Placed', 'Normal'],
  ['Running', 'Normal'],
  ['Suspended', 'Normal'],
  ['Succeeded', 'Normal'],
  ['Failed', 'Warning'],
  ['Stalled', 'Warning'],
];

export function eventsOf(before: ProcessGroupStatus | undefined, after: ProcessGroupStatus): EventNote[] {
  const notes: EventNote[] = told.flatMap(([type, eventType]) => {
    const condition = conditionOf(after.conditions, type);
    if (condition?.status !== 'True' || conditionOf(before?.conditions, type)?.status === 'True') return [];
    if (type === 'Stalled' && conditionOf(after.conditions, 'Failed')?.status === 'True') return [];
    return [{ type: eventType, reason: condition.reason, message: condition.message }];
  });
  for (const reason of ['Stopping', 'AgentUnreachable', 'Restarting']) {
    const now = conditionOf(after.conditions, 'Running');
    if (now?.reason !== reason || conditionOf(before?.conditions, 'Running')?.reason === reason) continue;
    notes.push({ type: 'Warning', reason, message: now.message });
  }
  for (const hold of after.holds ?? []) {
    if (before?.holds?.some(({ name }) => name === hold.name)) continue;
    notes.push({ type: 'Warning', reason: hold.reason, message: hold.message ?? hold.reason });
  }
  const placed = conditionOf(after.conditions, 'Placed');
  const waits =
    placed?.status === 'False' && after.finishTime === undefined && placed.reason !== 'NotPlacedYet';
  if (waits && conditionOf(before?.conditions, 'Placed')?.message !== placed.message) {
    notes.push({ type: 'Warning', reason: placed.reason, message: placed.message });
  }
  return notes;
}
