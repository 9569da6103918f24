import { createRequire } from 'node:module';
import type * as perfHooks from 'node:perf_hooks';
import { Registry } from 'prom-client';
import { expect, test, vi } from 'vitest';
import { collectProcessMetrics } from './process-metrics.ts';

test('a process tells of itself without being woken for it', async () => {
  const hooks = createRequire(import.meta.url)('node:perf_hooks') as typeof perfHooks;
  const monitor = vi.spyOn(hooks, 'monitorEventLoopDelay');
  const registry = new Registry();
  collectProcessMetrics(registry);
  expect(monitor).toHaveBeenCalledOnce();
  expect(monitor.mock.calls[0]![0]!.resolution).toBeGreaterThan(86_400_000);
  const text = await registry.metrics();
  expect(text).toMatch(/^process_resident_memory_bytes \d+/m);
  expect(text).toContain('nodejs_eventloop_lag_seconds');
  expect(text).not.toMatch(/_lag_p99|active_handles_total/);
});
