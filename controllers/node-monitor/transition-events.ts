/** The events of a NodeMonitor, from its conditions before and after a visit: for cordons and drains that people wait for. Pure. */
import { conditionOf } from '../../crds/conditions.ts';
import type { NodeMonitorStatus } from '../../crds/types.gen.ts';
import type { EventNote } from '../runtime/event-recorder.ts';

export function drainEventsOf(before: NodeMonitorStatus | undefined, after: NodeMonitorStatus): EventNote[] {
  const notes: EventNote[] = [];
  const was = conditionOf(before?.conditions, 'Draining');
  const now = conditionOf(after.conditions, 'Draining');
  if (now && now.reason !== (was?.reason ?? 'NotDraining')) {
    const type = now.reason === 'DrainBlocked' ? 'Warning' : 'Normal';
    const reason = now.reason === 'NotDraining' ? 'DrainEnded' : now.reason;
    notes.push({ type, reason, message: now.message });
  }
  const isCordoned = after.cordoned === true;
  if (isCordoned !== (before?.cordoned ?? false)) {
    const message = isCordoned
      ? 'nothing new is placed on the node'
      : 'groups may be placed on the node again';
    notes.push({ type: 'Normal', reason: isCordoned ? 'Cordoned' : 'Uncordoned', message });
  }
  return notes;
}
