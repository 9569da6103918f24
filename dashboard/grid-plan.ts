/**
 * Where in the grid each rank of each node stands: a row a node, a cell a rank, in the order of groups and ranks, then an empty place
 * for every processor that no rank has. Cells are as large as lets all rows be seen at once, down to a smallest size. Pure; what is
 * drawn into the places is grid-paint.ts.
 */
import { RankSet } from '../crds/rank-set.ts';
import type { FeedNode, FeedSandbox } from '../wire/page-feed.ts';

/** What a cell shows; 0 to 9 are running ranks by how busy they are. */
export const marks = {
  busy: 9,
  free: 10,
  pending: 11,
  frozen: 12,
  saving: 13,
  ended: 14,
  failed: 15,
  unknown: 16,
} as const;

export interface Place {
  readonly sandbox: FeedSandbox;
  /** Index of its first cell in the row. */
  readonly at: number;
  readonly ranks: Int32Array;
}

export interface Row {
  readonly node: FeedNode;
  readonly places: readonly Place[];
  /** Marks of all cells, also of empty places. */
  readonly cells: Uint8Array;
  readonly ranks: number;
  readonly top: number;
  readonly height: number;
}

export interface Plan {
  readonly rows: readonly Row[];
  /** Distance from cell to cell, of which `gap` is left free. */
  readonly cell: number;
  readonly gap: number;
  readonly left: number;
  readonly perLine: number;
  readonly height: number;
}

export const labelWidth = 168;
const sizes = [22, 20, 18, 16, 14, 12, 10, 9, 8, 7, 6, 5, 4] as const;
const rowGap = 5;
const leastRow = 17;
const mostFree = 512;

/** Cells of a sandbox do not depend on the layout, and are worked out once for each value of it. */
export type CellCache = WeakMap<FeedSandbox, { readonly ranks: Int32Array; readonly marks: Uint8Array }>;

export function planOf(
  nodes: readonly FeedNode[],
  sandboxes: Iterable<FeedSandbox>,
  width: number,
  height: number,
  cache: CellCache,
): Plan {
  const byNode = new Map<string, FeedSandbox[]>();
  for (const sandbox of sandboxes) {
    const list = byNode.get(sandbox.node);
    if (list) list.push(sandbox);
    else byNode.set(sandbox.node, [sandbox]);
  }
  const filled = nodes.map((node) => fillRow(node, byNode.get(node.name) ?? [], cache));
  const room = Math.max(40, width - labelWidth - 2);
  const cell = sizes.find((size) => heightOf(filled, size, room) <= height) ?? sizes.at(-1)!;
  const perLine = perLineOf(room, cell);
  let top = 0;
  const rows = filled.map((row) => {
    const rowHeight = lineHeight(row.cells.length, perLine, cell);
    const placed = { ...row, top, height: rowHeight };
    top += rowHeight + rowGap;
    return placed;
  });
  return {
    rows,
    cell,
    gap: cell >= 12 ? 2 : 1,
    left: labelWidth,
    perLine,
    height: Math.max(0, top - rowGap),
  };
}

/** A round number where there is room for many, so that the same place in two lines is as far apart everywhere. */
function perLineOf(room: number, cell: number): number {
  const most = Math.max(1, Math.floor(room / cell));
  return most >= 64 ? most - (most % 16) : most >= 16 ? most - (most % 8) : most;
}

const lineHeight = (cells: number, perLine: number, cell: number): number =>
  Math.max(leastRow, Math.ceil(cells / perLine) * cell);

function heightOf(rows: readonly { readonly cells: Uint8Array }[], cell: number, room: number): number {
  const perLine = perLineOf(room, cell);
  return rows.reduce((sum, { cells }) => sum + lineHeight(cells.length, perLine, cell) + rowGap, -rowGap);
}

function fillRow(
  node: FeedNode,
  sandboxes: FeedSandbox[],
  cache: CellCache,
): Pick<Row, 'node' | 'places' | 'cells' | 'ranks'> {
  sandboxes.sort(
    (a, b) => order(a.namespace, b.namespace) || order(a.group, b.group) || a.ordinal - b.ordinal,
  );
  let at = 0;
  let living = 0;
  const places = sandboxes.map((sandbox) => {
    const { ranks } = cellsOf(sandbox, cache);
    const place = { sandbox, at, ranks };
    at += ranks.length;
    if (sandbox.state !== 'Ended' && sandbox.state !== 'Failed') living += ranks.length;
    return place;
  });
  const free = Math.max(0, Math.min(mostFree, node.cpus) - living);
  const cells = new Uint8Array(at + free).fill(marks.free);
  for (const place of places) cells.set(cellsOf(place.sandbox, cache).marks, place.at);
  return { node, places, cells, ranks: at };
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function cellsOf(sandbox: FeedSandbox, cache: CellCache): { ranks: Int32Array; marks: Uint8Array } {
  const known = cache.get(sandbox);
  if (known) return known;
  const ranks = Int32Array.from(RankSet.parse(sandbox.ranks));
  const made = { ranks, marks: marksOf(sandbox, ranks) };
  cache.set(sandbox, made);
  return made;
}

export function marksOf(sandbox: FeedSandbox, ranks: Int32Array): Uint8Array {
  const { state, load, succeeded, failed } = sandbox;
  const usual = markOf(state);
  const out = new Uint8Array(ranks.length).fill(usual);
  if (state === 'Running') {
    for (let i = 0; i < out.length; i++) {
      const digit = load.charCodeAt(load.length === 1 ? 0 : i) - 48;
      out[i] = digit >= 0 && digit <= 9 ? digit : 0;
    }
  }
  paint(out, ranks, succeeded, marks.ended);
  paint(out, ranks, failed, marks.failed);
  return out;
}

function paint(out: Uint8Array, ranks: Int32Array, text: string, mark: number): void {
  if (text === '') return;
  const set = RankSet.parse(text);
  for (let i = 0; i < ranks.length; i++) if (set.has(ranks[i]!)) out[i] = mark;
}

function markOf(state: FeedSandbox['state']): number {
  switch (state) {
    case 'Running':
      return 0;
    case 'Pending':
    case 'Creating':
      return marks.pending;
    case 'Frozen':
      return marks.frozen;
    case 'Saving':
      return marks.saving;
    case 'Ending':
    case 'Ended':
      return marks.ended;
    case 'Failed':
      return marks.failed;
    case 'Unknown':
      return marks.unknown;
  }
}

/** The row and cell at a point; undefined beside all. */
export function cellAt(plan: Plan, x: number, y: number): { row: number; cell: number } | undefined {
  const row = rowAt(plan, y);
  const found = plan.rows[row];
  if (!found || y >= found.top + found.height || x < plan.left) return undefined;
  const column = Math.floor((x - plan.left) / plan.cell);
  const cell = Math.floor((y - found.top) / plan.cell) * plan.perLine + column;
  return column < plan.perLine && cell < found.cells.length ? { row, cell } : undefined;
}

/** The last row that begins at or above y. */
export function rowAt({ rows }: Plan, y: number): number {
  let low = 0;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (rows[middle]!.top <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Of which sandbox a cell is, and which rank; undefined: of none. */
export function rankAt(row: Row, cell: number): { sandbox: FeedSandbox; rank: number } | undefined {
  const place = row.places.find(({ at, ranks }) => cell >= at && cell < at + ranks.length);
  return place && { sandbox: place.sandbox, rank: place.ranks[cell - place.at]! };
}
