// Every metric that Muster tells Prometheus, with its type, its labels and what it means: from this table metrics are made, the
// reference is printed, and rules and dashboard of the chart are checked. Units stand in names. Labels are few: what grows with
// ranks is summed up, what grows with sandboxes is bounded by those of one node.

export interface Metric {
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly labels: readonly string[];
  readonly help: string;
  /** Of a histogram. */
  readonly buckets?: readonly number[];
}

const seconds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const bytes = [2 ** 20, 2 ** 24, 2 ** 27, 2 ** 30, 2 ** 32, 2 ** 34, 2 ** 36, 2 ** 38, 2 ** 40];

/** Of a controller; only the one that leads has any but the first. */
export const controllerMetrics = {
  muster_leading: { type: 'gauge', labels: [], help: '1 on the controller that leads, 0 on the others.' },
  muster_nodes: {
    type: 'gauge',
    labels: ['standing'],
    help: 'Nodes by standing of their agent, as the leader sees them.',
  },
  muster_nodes_unhealthy: { type: 'gauge', labels: [], help: 'Nodes of which some health check has failed.' },
  muster_groups: { type: 'gauge', labels: ['phase'], help: 'ProcessGroups by phase.' },
  muster_ranks_running: { type: 'gauge', labels: [], help: 'Ranks that run, of all groups.' },
  muster_operations_total: {
    type: 'counter',
    labels: ['operation', 'result'],
    help: 'Launches, checkpoints, migrations and ends of groups, by result: Succeeded or Failed.',
  },
  muster_launch_duration_seconds: {
    type: 'histogram',
    labels: [],
    help: 'From the placement of a group until all its ranks run.',
    buckets: seconds,
  },
  muster_checkpoint_duration_seconds: {
    type: 'histogram',
    labels: [],
    help: 'From the making of a Checkpoint until it can be restored.',
    buckets: seconds,
  },
  muster_checkpoint_size_bytes: {
    type: 'histogram',
    labels: [],
    help: 'Images of a Checkpoint, all together.',
    buckets: bytes,
  },
  muster_migration_downtime_seconds: {
    type: 'histogram',
    labels: [],
    help: 'For how long the ranks of a Migration stood still.',
    buckets: seconds,
  },
  muster_reconcile_duration_seconds: {
    type: 'histogram',
    labels: ['controller'],
    help: 'One visit of an object.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
  },
  muster_reconcile_errors_total: {
    type: 'counter',
    labels: ['controller'],
    help: 'Visits that failed and were tried again; objects that changed meanwhile are not counted.',
  },
  muster_workqueue_depth: {
    type: 'gauge',
    labels: ['controller'],
    help: 'Objects that wait for a visit, without those that are to be visited later.',
  },
  muster_facts_dropped_total: {
    type: 'counter',
    labels: [],
    help: "What agents said of other nodes' sandboxes, and nobody believed.",
  },
} as const satisfies Record<string, Metric>;

const sandbox = ['namespace', 'group', 'ordinal'] as const;

/** Of an agent. Sandboxes above the first 256 are summed up under the group "other". */
export const agentMetrics = {
  muster_node_cpu_ratio: {
    type: 'gauge',
    labels: ['mode'],
    help: 'Time of all processors at the last measurement: busy, user, system, iowait, steal.',
  },
  muster_node_load1: { type: 'gauge', labels: [], help: 'Load average of a minute.' },
  muster_node_memory_bytes: {
    type: 'gauge',
    labels: ['kind'],
    help: 'Memory: total, available, swap_total, swap_used.',
  },
  muster_node_pressure_ratio: {
    type: 'gauge',
    labels: ['resource'],
    help: 'Time of the last ten seconds in which something waited for cpu, memory or io.',
  },
  muster_node_disk_bytes: {
    type: 'gauge',
    labels: ['path', 'kind'],
    help: 'File systems that Muster uses: total, available.',
  },
  muster_node_disk_trouble: {
    type: 'gauge',
    labels: ['path'],
    help: '1 while the file system does not answer or cannot be written.',
  },
  muster_node_disk_io_bytes_per_second: {
    type: 'gauge',
    labels: ['direction'],
    help: 'Of all disks: read, written.',
  },
  muster_node_network_bytes_per_second: {
    type: 'gauge',
    labels: ['device', 'direction'],
    help: 'Of each interface: received, sent.',
  },
  muster_node_network_errors_total: {
    type: 'counter',
    labels: ['device', 'kind'],
    help: 'Errors and drops since the interface is up.',
  },
  muster_node_clock_offset_seconds: {
    type: 'gauge',
    labels: [],
    help: 'How far the clock is ahead of the controllers; absent while it is not known.',
  },
  muster_node_clock_jumps_total: {
    type: 'counter',
    labels: [],
    help: 'How often the clock was set while the agent ran.',
  },
  muster_node_sensor: {
    type: 'gauge',
    labels: ['sensor', 'unit'],
    help: 'Temperatures, power, accelerators.',
  },
  muster_node_check_passed: {
    type: 'gauge',
    labels: ['check'],
    help: '1 while the health check passes, 0 while it has failed.',
  },
  muster_node_sandboxes: { type: 'gauge', labels: [], help: 'Sandboxes that have not ended.' },
  muster_node_ranks: { type: 'gauge', labels: [], help: 'Ranks that run.' },
  muster_sandbox_cpu_seconds_total: {
    type: 'counter',
    labels: [...sandbox, 'mode'],
    help: 'CPU time of a sandbox by the kernel, user and system; it goes on when the agent is started anew.',
  },
  muster_sandbox_memory_bytes: {
    type: 'gauge',
    labels: [...sandbox, 'kind'],
    help: 'Memory of a sandbox: current, peak.',
  },
  muster_sandbox_io_bytes_total: {
    type: 'counter',
    labels: [...sandbox, 'direction'],
    help: 'What ranks read from and wrote to disks.',
  },
  muster_sandbox_log_bytes_total: { type: 'counter', labels: [...sandbox], help: 'Output collected.' },
  muster_sandbox_oom_kills_total: {
    type: 'counter',
    labels: [...sandbox],
    help: 'Processes that the memory limit killed.',
  },
  muster_sandbox_ranks: { type: 'gauge', labels: [...sandbox], help: 'Ranks that run.' },
  muster_sandbox_rank_cores: {
    type: 'gauge',
    labels: [...sandbox, 'of'],
    help: 'Processors that the ranks of a sandbox use: of the one that uses least (min), on average (mean), most (max).',
  },
} as const satisfies Record<string, Metric>;

export type ControllerMetric = keyof typeof controllerMetrics;
export type AgentMetric = keyof typeof agentMetrics;
