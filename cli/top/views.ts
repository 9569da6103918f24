/**
 * The three tables of `muster top`: nodes, jobs, ranks. A column says how a row is shown and by what it is sorted; where a figure
 * is not known it shows a dash, and sorts last. Pure.
 */
import type { RankRow } from '../../controllers/subresources/rank-rows.ts';
import type { NodeTop } from '../../controllers/subresources/top-rows.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { bytesText, imbalancePercent, secondsText, sparkline } from './quantities.ts';

export const viewNames = ['nodes', 'jobs', 'ranks'] as const;
export type ViewName = (typeof viewNames)[number];

interface Column<Row> {
  readonly name: string;
  readonly show: (row: Row) => string;
  /** Numbers are sorted from the largest, names from A. */
  readonly by: (row: Row) => number | string | undefined;
}

/** What a table needs, whatever its rows are. */
export interface View {
  readonly columns: readonly string[];
  /** Column names that it can be sorted by, in small letters and without blanks. */
  readonly keys: readonly string[];
  readonly sortedBy: string;
  readonly cells: readonly (readonly string[])[];
  /** The same, for programs. */
  readonly data: readonly unknown[];
}

export interface JobRow {
  readonly job: string;
  readonly state: string;
  readonly ranks: readonly RankRow[];
  readonly group: ProcessGroup;
}

export type RankOfJob = RankRow & { readonly job: string };

const dash = '-';
const shown = <T>(value: T | undefined, text: (value: T) => string): string =>
  value === undefined ? dash : text(value);
const keyOf = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');

const nodeColumns: readonly Column<NodeTop>[] = [
  { name: 'Node', show: ({ node }) => node, by: ({ node }) => node },
  { name: 'Agent', show: ({ standing }) => standing, by: ({ standing }) => standing },
  { name: 'CPUs', show: ({ cpus }) => String(cpus), by: ({ cpus }) => cpus },
  { name: 'Busy', show: ({ cores }) => shown(cores, (n) => n.toFixed(2)), by: ({ cores }) => cores },
  { name: 'Load', show: ({ load1 }) => load1.toFixed(2), by: ({ load1 }) => load1 },
  {
    name: 'Wait/steal',
    show: ({ iowaitPercent, stealPercent }) =>
      shown(iowaitPercent, (n) => `${n.toFixed(0)}/${(stealPercent ?? 0).toFixed(0)}%`),
    by: ({ iowaitPercent }) => iowaitPercent,
  },
  {
    name: 'Used',
    show: ({ memoryBytes, memoryAvailableBytes }) => bytesText(memoryBytes - memoryAvailableBytes),
    by: ({ memoryBytes, memoryAvailableBytes }) => memoryBytes - memoryAvailableBytes,
  },
  { name: 'Memory', show: ({ memoryBytes }) => bytesText(memoryBytes), by: ({ memoryBytes }) => memoryBytes },
  {
    name: 'Pressure',
    show: ({ pressure }) => shown(pressure, (p) => [p.cpu, p.memory, p.io].map(Math.round).join('/')),
    by: ({ pressure }) => pressure && Math.max(pressure.cpu, pressure.memory, pressure.io),
  },
  {
    name: 'Net in/out',
    show: ({ receivedBytesPerSecond: received, sentBytesPerSecond: sent }) =>
      shown(received, (n) => `${bytesText(n)}/${bytesText(sent ?? 0)}`),
    by: ({ receivedBytesPerSecond: received = 0, sentBytesPerSecond: sent = 0 }) => received + sent,
  },
  {
    name: 'Disk r/w',
    show: ({ readBytesPerSecond: read, writtenBytesPerSecond: written }) =>
      shown(read, (n) => `${bytesText(n)}/${bytesText(written ?? 0)}`),
    by: ({ readBytesPerSecond: read = 0, writtenBytesPerSecond: written = 0 }) => read + written,
  },
  {
    name: 'Disk free',
    show: ({ diskFreeBytes }) => bytesText(diskFreeBytes),
    by: ({ diskFreeBytes }) => diskFreeBytes,
  },
  { name: 'Sandboxes', show: ({ sandboxes }) => String(sandboxes), by: ({ sandboxes }) => sandboxes },
  { name: 'Ranks', show: ({ ranks }) => String(ranks), by: ({ ranks }) => ranks },
];

const coresOf = ({ ranks }: JobRow): number[] =>
  ranks.flatMap(({ usage }) => (usage && usage.processes > 0 ? [usage.cores] : []));
const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
const memoryOf = ({ ranks }: JobRow): number => sumOf(ranks.map(({ usage }) => usage?.memoryBytes ?? 0));
const usedSeconds = ({ ranks }: JobRow): number =>
  sumOf(ranks.map(({ usage }) => (usage ? usage.userSeconds + usage.systemSeconds : 0)));

const jobColumns: readonly Column<JobRow>[] = [
  { name: 'Job', show: ({ job }) => job, by: ({ job }) => job },
  { name: 'State', show: ({ state }) => state, by: ({ state }) => state },
  { name: 'Ranks', show: ({ ranks }) => String(ranks.length), by: ({ ranks }) => ranks.length },
  {
    name: 'Nodes',
    show: ({ ranks }) => String(new Set(ranks.map(({ node }) => node)).size),
    by: ({ ranks }) => new Set(ranks.map(({ node }) => node)).size,
  },
  { name: 'Busy', show: (row) => sumOf(coresOf(row)).toFixed(2), by: (row) => sumOf(coresOf(row)) },
  {
    name: 'By rank',
    show: (row) => sparkline(coresOf(row), 16) || dash,
    by: (row) => imbalancePercent(coresOf(row)),
  },
  {
    name: 'Imbalance',
    show: (row) => (coresOf(row).length < 2 ? dash : `${imbalancePercent(coresOf(row))}%`),
    by: (row) => imbalancePercent(coresOf(row)),
  },
  {
    name: 'Efficiency',
    show: ({ group }) => shown(group.status?.usage?.efficiencyPercent, (n) => `${n.toFixed(0)}%`),
    by: ({ group }) => group.status?.usage?.efficiencyPercent,
  },
  { name: 'CPU time', show: (row) => secondsText(usedSeconds(row)), by: usedSeconds },
  { name: 'Memory', show: (row) => bytesText(memoryOf(row)), by: memoryOf },
  {
    name: 'Read',
    show: ({ ranks }) => bytesText(sumOf(ranks.map(({ usage }) => usage?.readBytes ?? 0))),
    by: ({ ranks }) => sumOf(ranks.map(({ usage }) => usage?.readBytes ?? 0)),
  },
  {
    name: 'Written',
    show: ({ ranks }) => bytesText(sumOf(ranks.map(({ usage }) => usage?.writtenBytes ?? 0))),
    by: ({ ranks }) => sumOf(ranks.map(({ usage }) => usage?.writtenBytes ?? 0)),
  },
];

const rankColumns: readonly Column<RankOfJob>[] = [
  { name: 'Job', show: ({ job }) => job, by: ({ job }) => job },
  { name: 'Rank', show: ({ rank }) => String(rank), by: ({ rank }) => -rank },
  { name: 'Node', show: ({ node }) => node, by: ({ node }) => node },
  { name: 'Pid', show: ({ usage }) => shown(usage, ({ pid }) => String(pid)), by: ({ usage }) => usage?.pid },
  { name: 'State', show: ({ state }) => state, by: ({ state }) => state },
  { name: 'Does', show: ({ usage }) => shown(usage, doesText), by: ({ usage }) => usage?.state },
  {
    name: 'Busy',
    show: ({ usage }) => shown(usage, ({ cores }) => cores.toFixed(2)),
    by: ({ usage }) => usage?.cores,
  },
  {
    name: 'CPU time',
    show: ({ usage }) => shown(usage, (u) => secondsText(u.userSeconds + u.systemSeconds)),
    by: ({ usage }) => usage && usage.userSeconds + usage.systemSeconds,
  },
  {
    name: 'Memory',
    show: ({ usage }) => shown(usage, ({ memoryBytes }) => bytesText(memoryBytes)),
    by: ({ usage }) => usage?.memoryBytes,
  },
  {
    name: 'Peak',
    show: ({ usage }) => shown(usage, ({ memoryPeakBytes }) => bytesText(memoryPeakBytes)),
    by: ({ usage }) => usage?.memoryPeakBytes,
  },
  {
    name: 'Read',
    show: ({ usage }) => shown(usage, (u) => bytesText(u.readBytes)),
    by: ({ usage }) => usage?.readBytes,
  },
  {
    name: 'Written',
    show: ({ usage }) => shown(usage, (u) => bytesText(u.writtenBytes)),
    by: ({ usage }) => usage?.writtenBytes,
  },
  {
    name: 'Threads',
    show: ({ usage }) => shown(usage, ({ threads }) => String(threads)),
    by: ({ usage }) => usage?.threads,
  },
];

/** The state of the process that works most, and where it sleeps. */
export function doesText({ state, waitsFor }: { readonly state: string; readonly waitsFor: string }): string {
  return waitsFor === '' || state === 'R' ? state : `${state} ${waitsFor}`;
}

const orders: Record<ViewName, string> = { nodes: 'node', jobs: 'busy', ranks: 'rank' };

export const nodesView = (rows: readonly NodeTop[], sort?: string, reversed?: boolean): View =>
  viewOf(nodeColumns, rows, sort ?? orders.nodes, reversed, (row) => row);

export const jobsView = (rows: readonly JobRow[], sort?: string, reversed?: boolean): View =>
  viewOf(jobColumns, rows, sort ?? orders.jobs, reversed, (row) => ({
    job: row.job,
    state: row.state,
    ranks: row.ranks.length,
    nodes: new Set(row.ranks.map(({ node }) => node)).size,
    cores: sumOf(coresOf(row)),
    imbalancePercent: imbalancePercent(coresOf(row)),
    memoryBytes: memoryOf(row),
    usage: row.group.status?.usage ?? {},
  }));

export const ranksView = (rows: readonly RankOfJob[], sort?: string, reversed?: boolean): View =>
  viewOf(rankColumns, rows, sort ?? orders.ranks, reversed, (row) => row);

function viewOf<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  sort: string,
  reversed = false,
  dataOf: (row: Row) => unknown,
): View {
  const keys = columns.map(({ name }) => keyOf(name));
  const found = keys.indexOf(keyOf(sort));
  const column = columns[found] ?? columns[0]!;
  const sorted = rows.toSorted(
    (one, other) => compared(column.by(one), column.by(other)) * (reversed ? -1 : 1),
  );
  return {
    columns: columns.map(({ name }) => name),
    keys,
    sortedBy: keys[Math.max(0, found)] ?? '',
    cells: sorted.map((row) => columns.map(({ show }) => show(row))),
    data: sorted.map(dataOf),
  };
}

function compared(one: number | string | undefined, other: number | string | undefined): number {
  if (one === undefined || other === undefined)
    return Number(one === undefined) - Number(other === undefined);
  if (typeof one === 'number' && typeof other === 'number') return other - one;
  return String(one).localeCompare(String(other), 'en', { numeric: true });
}
