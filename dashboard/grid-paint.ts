/**
 * Draws the part of the grid that is in view: labels by the canvas' own text, cells as pixels, since there may be 65,536 of them. A
 * frame costs as much as is in view, however many nodes there are.
 */
import type { FeedNode } from '../wire/page-feed.ts';
import { labelWidth, marks, rowAt, type Plan, type Row } from './grid-plan.ts';
import type { Palette } from './palette.ts';

export interface View {
  readonly width: number;
  readonly height: number;
  readonly scrollTop: number;
  /** Pixels of the screen to one of the page. */
  readonly ratio: number;
}

export interface Marked {
  /** Of the group whose ranks stand out; '': all. */
  readonly uid: string;
  readonly cursor: { readonly row: number; readonly cell: number } | undefined;
}

/** Kept from frame to frame, since making one is dear. */
let pixels: ImageData | undefined;

export function paintGrid(
  context: CanvasRenderingContext2D,
  plan: Plan,
  view: View,
  palette: Palette,
  marked: Marked,
): void {
  const { ratio, width, height, scrollTop } = view;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = palette.paper;
  context.fillRect(0, 0, width, height);
  const first = rowAt(plan, scrollTop);
  const visible: Row[] = [];
  for (let index = first; index < plan.rows.length; index++) {
    const row = plan.rows[index]!;
    if (row.top - scrollTop > height) break;
    visible.push(row);
  }
  paintCells(context, plan, view, visible, palette, marked.uid);
  for (const row of visible) paintLabel(context, row, row.top - scrollTop, palette, marked);
  if (marked.cursor) paintCursor(context, plan, view, marked.cursor, palette);
}

function paintCells(
  context: CanvasRenderingContext2D,
  plan: Plan,
  { ratio, height, scrollTop }: View,
  rows: readonly Row[],
  palette: Palette,
  uid: string,
): void {
  const pitch = plan.cell * ratio;
  const wide = Math.ceil(plan.perLine * pitch);
  const high = Math.ceil(height * ratio);
  if (wide < 1 || high < 1) return;
  if (pixels?.width !== wide || pixels.height !== high) pixels = new ImageData(wide, high);
  const buffer = new Uint32Array(pixels.data.buffer);
  buffer.fill(palette.glyph);
  const side = Math.max(1, Math.round((plan.cell - plan.gap) * ratio));
  for (const row of rows) {
    let place = 0;
    for (let cell = 0; cell < row.cells.length; cell++) {
      while (place < row.places.length && cell >= endOf(row, place)) place += 1;
      const mark = row.cells[cell]!;
      const isOther = uid !== '' && row.places[place]?.sandbox.uid !== uid;
      const colour = (isOther ? palette.dimmed : palette.cells)[mark]!;
      const x = Math.round((cell % plan.perLine) * pitch);
      const y = Math.round((row.top - scrollTop + Math.floor(cell / plan.perLine) * plan.cell) * ratio);
      block(buffer, wide, high, x, y, side, mark, colour, palette.glyph);
    }
  }
  context.putImageData(pixels, Math.round(plan.left * ratio), 0);
}

const endOf = ({ places }: Row, index: number): number => places[index]!.at + places[index]!.ranks.length;

function block(
  buffer: Uint32Array,
  wide: number,
  high: number,
  x: number,
  y: number,
  side: number,
  mark: number,
  colour: number,
  glyph: number,
): void {
  const last = Math.min(y + side, high);
  for (let line = Math.max(0, y); line < last; line++) {
    const start = line * wide + x;
    buffer.fill(colour, start, start + side);
    const at = line - y;
    if (mark === marks.free && at > 0 && at < side - 1 && side > 4) {
      // Only its edge: nothing is there.
      buffer.fill(glyph, start + 1, start + side - 1);
    } else if (mark === marks.failed && side >= 5) {
      buffer[start + at] = glyph;
      buffer[start + side - 1 - at] = glyph;
    } else if (mark === marks.frozen && side >= 6 && at >= side / 4 && at < side - side / 4) {
      const bar = Math.max(1, Math.round(side / 7));
      const from = start + Math.round(side / 2);
      buffer.fill(glyph, from - bar - Math.ceil(bar / 2), from - Math.ceil(bar / 2));
      buffer.fill(glyph, from + Math.floor(bar / 2), from + bar + Math.floor(bar / 2));
    }
  }
}

function paintLabel(
  context: CanvasRenderingContext2D,
  { node }: Row,
  y: number,
  palette: Palette,
  { uid }: Marked,
): void {
  const baseline = y + 12;
  context.font = '12px ui-sans-serif, system-ui, sans-serif';
  context.textAlign = 'left';
  context.fillStyle = node.problem === '' ? palette.ink : palette.warn;
  context.globalAlpha = uid === '' ? 1 : 0.75;
  context.fillText(fitting(context, node.name, 84), 0, baseline);
  paintMeter(context, 92, y + 4, loadShareOf(node), palette);
  paintMeter(context, 92, y + 10, memoryShareOf(node), palette);
  context.fillStyle = palette.faint;
  context.textAlign = 'right';
  context.font = '11px ui-sans-serif, system-ui, sans-serif';
  context.fillText(labelText(node), labelWidth - 10, baseline);
  context.globalAlpha = 1;
}

const labelText = (node: FeedNode): string =>
  node.phase === 'Ready' ? node.load1.toFixed(node.load1 < 10 ? 1 : 0) : (shortPhase[node.phase] ?? '');
const shortPhase: Readonly<Record<string, string>> = {
  NotReady: 'gone',
  Pending: '...',
  Cordoned: 'cord.',
  Draining: 'drain',
  Drained: 'empty',
  Unhealthy: 'sick',
};

function paintMeter(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  share: number,
  palette: Palette,
): void {
  const width = 34;
  context.fillStyle = palette.line;
  context.fillRect(x, y, width, 3);
  context.fillStyle = share > 0.95 ? palette.warn : palette.faint;
  context.fillRect(x, y, Math.round(width * Math.min(1, share)), 3);
}

export const loadShareOf = ({ load1, cpus }: FeedNode): number => (cpus > 0 ? load1 / cpus : 0);
export const memoryShareOf = ({ memoryBytes, memoryAvailableBytes }: FeedNode): number =>
  memoryBytes > 0 ? 1 - memoryAvailableBytes / memoryBytes : 0;

const widths = new Map<string, string>();

function fitting(context: CanvasRenderingContext2D, text: string, width: number): string {
  const known = widths.get(text);
  if (known !== undefined) return known;
  let shown = text;
  while (shown.length > 3 && context.measureText(shown).width > width) shown = `${shown.slice(0, -2)}…`;
  if (widths.size > 10_000) widths.clear();
  widths.set(text, shown);
  return shown;
}

function paintCursor(
  context: CanvasRenderingContext2D,
  plan: Plan,
  { scrollTop }: View,
  { row, cell }: { readonly row: number; readonly cell: number },
  palette: Palette,
): void {
  const found = plan.rows[row];
  if (!found) return;
  const x = plan.left + (cell % plan.perLine) * plan.cell;
  const y = found.top - scrollTop + Math.floor(cell / plan.perLine) * plan.cell;
  const side = plan.cell - plan.gap;
  context.strokeStyle = palette.focus;
  context.lineWidth = 2;
  context.strokeRect(x - 1.5, y - 1.5, side + 3, side + 3);
}
