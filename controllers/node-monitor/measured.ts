/**
 * What of a node's figures stands in its NodeMonitor: few, rounded, so that a node that rests is not written again and again.
 * History and what ranks do are asked of the agent instead. Pure.
 */
import type { NodeMonitorStatus } from '../../crds/types.gen.ts';
import type { NodeReport } from '../../wire/agent-types.ts';
import type { NodeState } from '../hub/node-table.ts';

const figures = [
  'cpu', 'clock', 'load', 'memory', 'pressure', 'disks', 'networks', 'sensors', 'sandboxes',
] as const satisfies readonly (keyof NodeMonitorStatus)[]; // prettier-ignore

/** What is left is worth a write at once. */
export function withoutFigures(status: NodeMonitorStatus): object {
  return Object.fromEntries(
    Object.entries(status).filter(([field]) => !(figures as readonly string[]).includes(field)),
  );
}

export function measuredFields(
  state: NodeState | undefined,
  before: NodeMonitorStatus,
): Partial<NodeMonitorStatus> {
  const { load, report } = state ?? {};
  const totalBytes = state?.hello?.capacity?.memoryBytes ?? before.memory?.totalBytes ?? 0;
  return {
    ...(load
      ? {
          load: { one: load.load1, five: load.load5, fifteen: load.load15 },
          memory: {
            totalBytes,
            availableBytes: load.memoryAvailableBytes,
            swapUsedBytes: load.swapUsedBytes,
          },
          pressure: {
            cpu: load.cpuPressureAvg10,
            memory: load.memoryPressureAvg10,
            io: load.ioPressureAvg10,
          },
          sandboxes: {
            count: load.sandboxes,
            ranks: load.ranks,
            ...(report?.figures ? { frozen: report.figures.frozen } : {}),
          },
        }
      : {}),
    ...(report ? reportFields(report) : {}),
  };
}

function reportFields(report: NodeReport): Partial<NodeMonitorStatus> {
  const { figures: now, disks, networks, sensors, checks } = report;
  return {
    ...(now
      ? { cpu: { busy: percent(now.busy), iowait: percent(now.iowait), steal: percent(now.steal) } }
      : {}),
    ...(now?.clockKnown ? { clock: { offsetMilliseconds: Math.round(now.clockOffsetMs) } } : {}),
    disks: disks.map(({ path, totalBytes, availableBytes, readOnly, trouble }) => ({
      path,
      totalBytes,
      availableBytes,
      ...(readOnly ? { readOnly } : {}),
      ...(trouble === '' ? {} : { trouble: trouble.slice(0, 1024) }),
    })),
    networks: networks.map(
      ({ name, speedMbit, receivedBytesPerSecond, sentBytesPerSecond, errors, drops }) => ({
        name,
        ...(speedMbit > 0 ? { speedMbit } : {}),
        receivedBytesPerSecond: Math.round(receivedBytesPerSecond),
        sentBytesPerSecond: Math.round(sentBytesPerSecond),
        errors,
        drops,
      }),
    ),
    ...(sensors.length > 0
      ? {
          sensors: sensors.map(({ name, unit, value }) => ({
            name,
            unit,
            value: Math.round(value * 10) / 10,
          })),
        }
      : {}),
    checks: checks.map(({ name, passed, failures, message, changedNs, builtIn }) => ({
      name,
      passed,
      ...(builtIn ? { builtIn } : {}),
      failures,
      ...(message === '' ? {} : { message: message.slice(0, 1024) }),
      ...(changedNs > 0 ? { time: new Date(changedNs / 1e6).toISOString().replace(/\.\d+Z$/, 'Z') } : {}),
    })),
  };
}

const percent = (share: number): number => Math.round(share * 1000) / 10;
