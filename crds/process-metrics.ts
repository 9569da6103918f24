/**
 * What prom-client tells of every process (memory, processor time, collections), in a registry of ours: without what bears names that
 * promise a counter, and without its histogram of the event loop, which wakes the process a hundred times a second to see how late it
 * is. How late the loop is when somebody asks stays.
 */
import { collectDefaultMetrics, type Registry } from 'prom-client';

const misnamed = ['active_handles_total', 'active_requests_total', 'active_resources_total'];
const loopViews = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'].map(
  (view) => `eventloop_lag_${view}_seconds`,
);
/** Nobody reads the histogram, and it cannot be left out: as good as never. */
const neverMs = 2 ** 31 - 1;

export function collectProcessMetrics(register: Registry): void {
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: neverMs });
  for (const name of [...misnamed, ...loopViews]) register.removeSingleMetric(`nodejs_${name}`);
}
