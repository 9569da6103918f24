/**
 * Conditions of a node from what its agent's checks said: Healthy, Reclaimed, and pressure of memory and disks. The agent damps a
 * single check (failureThreshold); pressure is damped here by two bounds, so that a node at the edge does not flap. What follows of
 * a condition, cordon or drain, is another file's. Pure.
 */
import { conditionOf, type ConditionInput, type Reason } from '../../crds/conditions.ts';
import type { Condition } from '../../crds/objects.ts';
import type { NodeMonitor } from '../../crds/types.gen.ts';
import type { NodeState } from '../hub/node-table.ts';

/** From here on a node is short of memory; and until there it stays so. */
const memoryShort = { fromPercent: 5, untilPercent: 8 };
const diskShort = { fromPercent: 5, untilPercent: 8 };

export function healthCondition(monitor: NodeMonitor, state: NodeState | undefined): ConditionInput {
  const asked = monitor.spec?.healthChecks ?? [];
  const checks = state?.report?.checks;
  if (!checks || checks.length === 0) {
    // An agent that is away, or of a version before health checks, has said nothing of them.
    const before = conditionOf(monitor.status?.conditions, 'Healthy');
    if (!checks && before && before.reason !== 'NoChecks')
      return {
        type: 'Healthy',
        status: before.status,
        reason: before.reason as Reason,
        message: before.message,
      };
    return asked.length === 0
      ? { type: 'Healthy', status: 'True', reason: 'NoChecks', message: 'no health check is configured' }
      : { type: 'Healthy', status: 'Unknown', reason: 'Progressing', message: 'no health check was run yet' };
  }
  const failed = checks.filter(({ passed }) => !passed);
  if (failed.length > 0) {
    const message = failed.map((check) => `${check.name}: ${check.message}`).join('; ');
    return { type: 'Healthy', status: 'False', reason: 'CheckFailed', message };
  }
  return {
    type: 'Healthy',
    status: 'True',
    reason: 'ChecksPassed',
    message: `passed: ${checks.map(({ name }) => name).join(', ')}`,
  };
}

export function ownerCondition(monitor: NodeMonitor, state: NodeState | undefined): ConditionInput[] {
  const owner = state?.report?.owner;
  const before = conditionOf(monitor.status?.conditions, 'Reclaimed');
  if (!monitor.spec?.ownerReclaim) {
    if (!before) return [];
    const message = 'spec.ownerReclaim is not set: the node belongs to nobody';
    return [{ type: 'Reclaimed', status: 'False', reason: 'OwnerIdle', message }];
  }
  if (!owner)
    return before
      ? []
      : [
          {
            type: 'Reclaimed',
            status: 'Unknown',
            reason: 'Progressing',
            message: 'the agent has not looked yet',
          },
        ];
  return [
    owner.active
      ? { type: 'Reclaimed', status: 'True', reason: 'OwnerActive', message: owner.message }
      : { type: 'Reclaimed', status: 'False', reason: 'OwnerIdle', message: owner.message },
  ];
}

export function pressureConditions(
  state: NodeState | undefined,
  before: readonly Condition[] | undefined,
): ConditionInput[] {
  const { figures, disks = [] } = state?.report ?? {};
  if (!figures || figures.memoryTotalBytes === 0) return [];
  const freePercent = (figures.memoryAvailableBytes / figures.memoryTotalBytes) * 100;
  const fullest = disks
    .filter(({ totalBytes }) => totalBytes > 0)
    .map(({ path, availableBytes, totalBytes }) => ({ path, percent: (availableBytes / totalBytes) * 100 }))
    .sort((one, other) => one.percent - other.percent)[0];
  const input = (
    type: 'MemoryPressure' | 'DiskPressure',
    percent: number,
    bounds: { fromPercent: number; untilPercent: number },
    what: string,
  ): ConditionInput => {
    const was = conditionOf(before, type);
    const bound = was?.status === 'True' ? bounds.untilPercent : bounds.fromPercent;
    if (percent >= bound)
      return {
        type,
        status: 'False',
        reason: 'NoPressure',
        message: `${what} has more than ${bounds.fromPercent} % to spare`,
      };
    // The figure of when it began: one that moves would be written again and again.
    const message = was?.status === 'True' ? was.message : `${what} has ${percent.toFixed(1)} % to spare`;
    return { type, status: 'True', reason: 'Pressure', message };
  };
  return [
    input('MemoryPressure', freePercent, memoryShort, 'memory'),
    ...(fullest ? [input('DiskPressure', fullest.percent, diskShort, fullest.path)] : []),
  ];
}
