/** How a node's agent is to watch it, from the spec of its NodeMonitor. Pure. */
import type { NodeMonitor } from '../../crds/types.gen.ts';
import type { MonitorOrder, Sent } from '../../wire/agent-types.ts';

export function monitorOrderOf({ spec = {} }: NodeMonitor): Sent<MonitorOrder> {
  const { intervalSeconds = 10, healthChecks = [], ownerReclaim } = spec;
  return {
    intervalSeconds,
    checks: healthChecks.map((check) => ({
      name: check.name,
      intervalSeconds: check.intervalSeconds ?? 60,
      timeoutSeconds: check.timeoutSeconds ?? 10,
      failureThreshold: check.failureThreshold ?? 3,
    })),
    ...(ownerReclaim
      ? { owner: { idleSeconds: ownerReclaim.idleSeconds ?? 0, maxLoad: ownerReclaim.maxLoad ?? 0 } }
      : {}),
  };
}
