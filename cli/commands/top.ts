/** `muster top`: what jobs use, sandbox by sandbox, or with --nodes how loaded the nodes are. */
import type { NodeTop, TopRow } from '../../controllers/subresources/top-rows.ts';
import { groupVerbPath, nodeVerbPath } from '../../controllers/subresources/paths.ts';
import { isStoreError } from '../../store/object-store.ts';
import { type Client, connect, nodeMonitorType } from '../client.ts';
import type { Config } from '../config.ts';
import { placedGroups } from '../placed-groups.ts';
import { formatTable, plainTable } from '../table.ts';

export async function top(
  config: Config,
  args: string[],
  options: { nodes?: boolean; output?: string },
): Promise<number> {
  const client = connect(config.server);
  return options.nodes === true
    ? topNodes(config, client, args, options)
    : topGroups(config, client, args, options);
}

async function topGroups(
  config: Config,
  client: Client,
  args: readonly string[],
  options: { output?: string },
): Promise<number> {
  const names = args.length > 0 ? args : await placedGroups(client, config.namespace);
  const all: ({ group: string } & TopRow)[] = [];
  for (const name of names) {
    const path = groupVerbPath({ namespace: config.namespace, name }, 'top');
    const { sandboxes } = (await client.request('GET', path)) as { sandboxes: TopRow[] };
    all.push(...sandboxes.map((row) => ({ group: name, ...row })));
  }
  const columns = [
    'Group',
    'Sandbox',
    'Node',
    'Ranks',
    'State',
    'CPU time',
    'Cores',
    'Memory',
    'Peak',
    'Log',
  ];
  const rows = all.map((row) => [
    row.group,
    row.ordinal,
    row.node,
    row.ranks,
    row.state,
    `${row.cpuSeconds.toFixed(1)}s`,
    row.cores.toFixed(2),
    bytesText(row.memoryBytes),
    bytesText(row.memoryPeakBytes),
    bytesText(row.logBytes),
  ]);
  return show(config, options, all, columns, rows);
}

async function topNodes(
  config: Config,
  client: Client,
  args: readonly string[],
  options: { output?: string },
): Promise<number> {
  const names =
    args.length > 0
      ? args
      : (await client.store.list(nodeMonitorType)).items.map((item) => item.metadata.name ?? '');
  const all: NodeTop[] = [];
  for (const name of names) {
    try {
      all.push((await client.request('GET', nodeVerbPath(name, 'top'))) as NodeTop);
    } catch (error) {
      // One whose agent has not been heard of since the control plane started.
      if (!isStoreError(error, 'NotFound') || args.length > 0) throw error;
    }
  }
  const columns = ['Node', 'Agent', 'CPUs', 'Load', 'Memory', 'Free', 'Disk free', 'Sandboxes', 'Ranks'];
  const rows = all.map((row) => [
    row.node,
    row.standing,
    row.cpus,
    row.load1.toFixed(2),
    bytesText(row.memoryBytes),
    bytesText(row.memoryAvailableBytes),
    bytesText(row.diskFreeBytes),
    row.sandboxes,
    row.ranks,
  ]);
  return show(config, options, all, columns, rows);
}

function show(
  config: Config,
  { output }: { output?: string },
  data: unknown,
  columns: readonly string[],
  rows: readonly (readonly unknown[])[],
): number {
  process.stdout.write(
    output === 'json'
      ? `${JSON.stringify(data, null, 2)}\n`
      : formatTable(plainTable(columns, rows), { noHeaders: false }, config),
  );
  return 0;
}

const units = ['', 'Ki', 'Mi', 'Gi', 'Ti'];

function bytesText(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)}${units[power]}`;
}
