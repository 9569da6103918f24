/**
 * The grid of nodes and ranks on a canvas of the size of its panel, with a cursor that the mouse and the arrow keys move; what is
 * under the cursor is told in words below it, which screen readers read too.
 */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { FeedNode, FeedSandbox } from '../wire/page-feed.ts';
import { cellAt, planOf, rankAt, type CellCache, type Plan } from './grid-plan.ts';
import { paintGrid } from './grid-paint.ts';
import { paletteOf, type Palette } from './palette.ts';
import { bytesText, countText } from './text.ts';
import { useSize } from './use-size.ts';

interface Cursor {
  readonly row: number;
  readonly cell: number;
}

export interface GridProps {
  readonly nodes: readonly FeedNode[];
  readonly sandboxes: readonly FeedSandbox[];
  readonly chosenUid: string;
  readonly choose: (namespace: string, name: string) => void;
}

export function Grid({ nodes, sandboxes, chosenUid, choose }: GridProps) {
  const scroll = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const cache = useRef<CellCache>(new WeakMap());
  const { width, height } = useSize(scroll);
  const mostHeight = useMostHeight();
  const palette = usePalette();
  const [cursor, setCursor] = useState<Cursor>();
  const plan = useMemo(
    () => planOf(nodes, sandboxes, width, mostHeight, cache.current),
    [nodes, sandboxes, width, mostHeight],
  );

  useLayoutEffect(() => {
    const element = canvas.current;
    const outer = scroll.current;
    if (!element || !outer || width === 0) return;
    const ratio = window.devicePixelRatio;
    if (element.width !== Math.round(width * ratio)) element.width = Math.round(width * ratio);
    if (element.height !== Math.round(height * ratio)) element.height = Math.round(height * ratio);
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
    const context = element.getContext('2d', { alpha: false });
    if (!context) return;
    let frame = 0;
    const paint = (): void => {
      frame = 0;
      const view = { width, height, ratio, scrollTop: outer.scrollTop };
      paintGrid(context, plan, view, palette, { uid: chosenUid, cursor });
    };
    const later = (): void => {
      if (frame === 0) frame = requestAnimationFrame(paint);
    };
    later();
    outer.addEventListener('scroll', later, { passive: true });
    return () => {
      cancelAnimationFrame(frame);
      outer.removeEventListener('scroll', later);
    };
  }, [plan, palette, width, height, chosenUid, cursor]);

  const at = (event: MouseEvent): Cursor | undefined => {
    const outer = scroll.current;
    const box = outer?.getBoundingClientRect();
    return outer && box
      ? cellAt(plan, event.clientX - box.left, event.clientY - box.top + outer.scrollTop)
      : undefined;
  };
  const open = (one: Cursor | undefined): void => {
    const row = one && plan.rows[one.row];
    const found = row && rankAt(row, one.cell);
    if (found) choose(found.sandbox.namespace, found.sandbox.group);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Enter') return open(cursor);
    const next = moved(plan, cursor, event.key);
    if (!next) return;
    event.preventDefault();
    setCursor(next);
    const row = plan.rows[next.row];
    const outer = scroll.current;
    if (!row || !outer) return;
    const top = row.top + Math.floor(next.cell / plan.perLine) * plan.cell;
    if (top < outer.scrollTop) outer.scrollTop = top - 4;
    else if (top + plan.cell > outer.scrollTop + height) outer.scrollTop = top + plan.cell + 4 - height;
  };
  return (
    <>
      <div
        class="grid-scroll"
        ref={scroll}
        tabIndex={0}
        id="grid"
        role="application"
        aria-label="Nodes and ranks. Arrow keys move, Enter opens the job."
        aria-describedby="told"
        onKeyDown={onKeyDown}
        onMouseMove={(event) => setCursor((before) => keep(before, at(event)))}
        onMouseLeave={() => setCursor(undefined)}
        onClick={(event) => open(at(event))}
        style={{ height: `${Math.min(plan.height, mostHeight) + 4}px` }}
      >
        <canvas ref={canvas} aria-hidden="true" />
        <Spacer height={plan.height} />
      </div>
      <p class="told" id="told" aria-live="polite">
        <Told plan={plan} cursor={cursor} />
      </p>
    </>
  );
}

/** Makes the panel scroll over all rows, of which the canvas holds those in view. */
function Spacer({ height }: { readonly height: number }) {
  return <div class="spacer" style={{ height: `${height}px` }} />;
}

const keep = (before: Cursor | undefined, now: Cursor | undefined): Cursor | undefined =>
  before?.row === now?.row && before?.cell === now?.cell ? before : now;

function Told({ plan, cursor }: { readonly plan: Plan; readonly cursor: Cursor | undefined }) {
  const row = cursor && plan.rows[cursor.row];
  if (!row) {
    const ranks = plan.rows.reduce((sum, one) => sum + one.ranks, 0);
    return (
      <>
        {countText(ranks, 'rank')} on {countText(plan.rows.length, 'node')}
      </>
    );
  }
  const { node } = row;
  const about = `${node.name}: load ${node.load1.toFixed(1)} of ${node.cpus}, ${bytesText(node.memoryAvailableBytes)} free of ${bytesText(node.memoryBytes)}${node.problem === '' ? '' : `, ${node.problem}`}`;
  const found = rankAt(row, cursor.cell);
  if (!found) return <>{about}</>;
  const { sandbox, rank } = found;
  const digit = row.cells[cursor.cell] ?? 0;
  const doing = digit <= 9 ? `running, ${Math.round((digit / 9) * 100)} % of a core` : wordOf(digit, sandbox);
  return (
    <>
      <b>
        {sandbox.namespace}/{sandbox.group} rank {rank}
      </b>
      {`: ${doing} · ${about}`}
    </>
  );
}

const words: Readonly<Record<number, string>> = { 14: 'ended', 15: 'failed' };
const wordOf = (mark: number, { state }: FeedSandbox): string => words[mark] ?? state.toLowerCase();

/** Where a key leads; undefined: it is none of ours. */
export function moved(plan: Plan, from: Cursor | undefined, key: string): Cursor | undefined {
  const rows = plan.rows.length;
  if (rows === 0 || !/^(Arrow(Up|Down|Left|Right)|Home|End|PageUp|PageDown)$/.test(key)) return undefined;
  const { row, cell } = from ?? { row: 0, cell: key === 'ArrowRight' ? -1 : 0 };
  const cellsIn = (index: number): number => Math.max(1, plan.rows[index]?.cells.length ?? 1);
  const to = (nextRow: number, nextCell: number): Cursor => {
    const within = Math.max(0, Math.min(rows - 1, nextRow));
    return { row: within, cell: Math.max(0, Math.min(cellsIn(within) - 1, nextCell)) };
  };
  switch (key) {
    case 'ArrowLeft':
      return to(row, cell - 1);
    case 'ArrowRight':
      return to(row, cell + 1);
    case 'ArrowUp':
      return cell >= plan.perLine ? to(row, cell - plan.perLine) : to(row - 1, cell);
    case 'ArrowDown':
      return cell + plan.perLine < cellsIn(row) ? to(row, cell + plan.perLine) : to(row + 1, cell);
    case 'PageUp':
      return to(row - 8, cell);
    case 'PageDown':
      return to(row + 8, cell);
    case 'Home':
      return to(row, 0);
    default:
      return to(row, cellsIn(row) - 1);
  }
}

/** Half of the window: the grid is as high as its rows, but leaves room for the rest. */
function useMostHeight(): number {
  const read = (): number => Math.max(160, Math.round(window.innerHeight / 2));
  const [height, setHeight] = useState(read);
  useEffect(() => {
    const change = (): void => setHeight(read());
    window.addEventListener('resize', change);
    return () => window.removeEventListener('resize', change);
  }, []);
  return height;
}

function usePalette(): Palette {
  const read = (): Palette => {
    const style = getComputedStyle(document.documentElement);
    return paletteOf((name) => style.getPropertyValue(name));
  };
  const [palette, setPalette] = useState(read);
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const change = (): void => setPalette(read());
    dark.addEventListener('change', change);
    return () => dark.removeEventListener('change', change);
  }, []);
  return palette;
}
