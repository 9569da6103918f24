// The agent's metrics as prom-client writes them, read from the monitor when somebody asks and never more often than once a second,
// however many ask. Counters are the kernel's own: what an agent has not measured yet it does not tell, since a counter that began
// at nothing would look as if all of it had happened at once.
import { Counter, Gauge, Registry } from 'prom-client';
import { agentMetrics, type AgentMetric } from '../../crds/metrics.ts';
import { collectProcessMetrics } from '../../crds/process-metrics.ts';
import type { Monitor } from '../monitor/monitor.ts';
import type { Sandboxes } from '../sandboxes.ts';
import { bounded, type SandboxFigures } from './sandbox-figures.ts';

const freshForMs = 1000;

type Labels = Readonly<Record<string, string>>;

export class AgentRegistry {
  readonly contentType: string;
  readonly #monitor: Monitor;
  readonly #sandboxes: Sandboxes;
  readonly #registry = new Registry();
  readonly #metrics = new Map<AgentMetric, Gauge | Counter>();
  #text: Promise<string> | null = null;
  #textMs = -Infinity;

  constructor(monitor: Monitor, sandboxes: Sandboxes) {
    this.#monitor = monitor;
    this.#sandboxes = sandboxes;
    this.contentType = this.#registry.contentType;
    collectProcessMetrics(this.#registry);
    for (const [name, { type, help, labels }] of Object.entries(agentMetrics)) {
      const options = { name, help, labelNames: [...labels], registers: [this.#registry] };
      this.#metrics.set(name as AgentMetric, type === 'counter' ? new Counter(options) : new Gauge(options));
    }
  }

  text(): Promise<string> {
    const nowMs = performance.now();
    if (!this.#text || nowMs - this.#textMs >= freshForMs) {
      this.#textMs = nowMs;
      this.#collect();
      this.#text = this.#registry.metrics();
    }
    return this.#text;
  }

  #collect(): void {
    for (const metric of this.#metrics.values()) metric.reset();
    this.#node();
    for (const figures of bounded(this.#sandboxFigures())) this.#sandbox(figures);
  }

  #node(): void {
    const { measured, fileSystems, sensors, checks, clock } = this.#monitor;
    for (const mode of ['busy', 'user', 'system', 'iowait', 'steal'] as const)
      this.#set('muster_node_cpu_ratio', measured[mode], { mode });
    this.#set('muster_node_load1', measured.load1);
    this.#set('muster_node_memory_bytes', measured.memoryTotalBytes, { kind: 'total' });
    this.#set('muster_node_memory_bytes', measured.memoryAvailableBytes, { kind: 'available' });
    this.#set('muster_node_memory_bytes', measured.swapTotalBytes, { kind: 'swap_total' });
    this.#set('muster_node_memory_bytes', measured.swapUsedBytes, { kind: 'swap_used' });
    for (const resource of ['cpu', 'memory', 'io'] as const)
      this.#set('muster_node_pressure_ratio', measured[`${resource}PressureAvg10`] / 100, { resource });
    for (const { path, totalBytes, availableBytes, trouble, readOnly } of fileSystems.figures) {
      this.#set('muster_node_disk_bytes', totalBytes, { path, kind: 'total' });
      this.#set('muster_node_disk_bytes', availableBytes, { path, kind: 'available' });
      this.#set('muster_node_disk_trouble', trouble !== '' || readOnly ? 1 : 0, { path });
    }
    this.#set('muster_node_disk_io_bytes_per_second', measured.readBytesPerSecond, { direction: 'read' });
    this.#set('muster_node_disk_io_bytes_per_second', measured.writtenBytesPerSecond, {
      direction: 'written',
    });
    for (const {
      name: device,
      receivedBytesPerSecond,
      sentBytesPerSecond,
      errors,
      drops,
    } of measured.networks) {
      this.#set('muster_node_network_bytes_per_second', receivedBytesPerSecond, {
        device,
        direction: 'received',
      });
      this.#set('muster_node_network_bytes_per_second', sentBytesPerSecond, { device, direction: 'sent' });
      this.#set('muster_node_network_errors_total', errors, { device, kind: 'errors' });
      this.#set('muster_node_network_errors_total', drops, { device, kind: 'drops' });
    }
    if (clock.offsetMs !== null) this.#set('muster_node_clock_offset_seconds', clock.offsetMs / 1000);
    this.#set('muster_node_clock_jumps_total', clock.jumps);
    for (const { name: sensor, unit, value } of sensors.values)
      this.#set('muster_node_sensor', value, { sensor, unit });
    for (const { name: check, passed } of checks.results)
      this.#set('muster_node_check_passed', passed ? 1 : 0, { check });
    this.#set('muster_node_sandboxes', this.#sandboxes.running);
    this.#set('muster_node_ranks', this.#sandboxes.ranksRunning);
  }

  #sandboxFigures(): SandboxFigures[] {
    const measured = [...this.#monitor.samplers()].filter(([{ limits }]) => limits.usage.cpuUs > 0);
    return measured.map(([{ spec, limits, logs, ranksRunning }, sampler]) => ({
      namespace: spec.namespace,
      group: spec.groupName,
      ordinal: String(spec.id?.ordinal ?? 0),
      userSeconds: limits.usage.userUs / 1e6,
      systemSeconds: limits.usage.systemUs / 1e6,
      memoryBytes: limits.usage.memoryBytes,
      memoryPeakBytes: limits.usage.memoryPeakBytes,
      ...sampler.io,
      logBytes: logs.bytes,
      oomKills: limits.oomKills,
      ranks: ranksRunning,
      cores: sampler.samples.filter(({ processes }) => processes > 0).map(({ cores }) => cores),
    }));
  }

  #sandbox({ namespace, group, ordinal, cores, ...figures }: SandboxFigures): void {
    const labels = { namespace, group, ordinal };
    this.#set('muster_sandbox_cpu_seconds_total', figures.userSeconds, { ...labels, mode: 'user' });
    this.#set('muster_sandbox_cpu_seconds_total', figures.systemSeconds, { ...labels, mode: 'system' });
    this.#set('muster_sandbox_memory_bytes', figures.memoryBytes, { ...labels, kind: 'current' });
    this.#set('muster_sandbox_memory_bytes', figures.memoryPeakBytes, { ...labels, kind: 'peak' });
    this.#set('muster_sandbox_io_bytes_total', figures.readBytes, { ...labels, direction: 'read' });
    this.#set('muster_sandbox_io_bytes_total', figures.writtenBytes, { ...labels, direction: 'written' });
    this.#set('muster_sandbox_log_bytes_total', figures.logBytes, labels);
    this.#set('muster_sandbox_oom_kills_total', figures.oomKills, labels);
    this.#set('muster_sandbox_ranks', figures.ranks, labels);
    if (cores.length === 0) return;
    this.#set('muster_sandbox_rank_cores', Math.min(...cores), { ...labels, of: 'min' });
    this.#set('muster_sandbox_rank_cores', Math.max(...cores), { ...labels, of: 'max' });
    const mean = cores.reduce((sum, each) => sum + each, 0) / cores.length;
    this.#set('muster_sandbox_rank_cores', mean, { ...labels, of: 'mean' });
  }

  #set(name: AgentMetric, value: number, labels: Labels = {}): void {
    const metric = this.#metrics.get(name);
    if (metric instanceof Counter) metric.inc(labels, value);
    else metric?.set(labels, value);
  }
}
