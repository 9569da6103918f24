/** The timeline: a row a job, its phases as bars with how long they lasted, checkpoints and migrations across them, events as ticks. */
import { useMemo, useRef } from 'preact/hooks';
import type { FeedGroup } from '../wire/page-feed.ts';
import { keyOf, type Model } from './model.ts';
import { clockText } from './text.ts';
import { spanOf, timelineOf, ticksOf, type Bar, type TimelineRow } from './timeline-plan.ts';
import { useSize } from './use-size.ts';

export const ranges = [
  ['5 min', 5 * 60_000],
  ['30 min', 30 * 60_000],
  ['2 h', 2 * 3_600_000],
  ['12 h', 12 * 3_600_000],
] as const;

const rowHeight = 24;
const labelWidth = 150;
const axisHeight = 18;
/** More rows than anybody reads; the rest is a matter of the filter. */
const mostRows = 60;

export interface TimelineProps {
  readonly model: Model;
  readonly groups: readonly FeedGroup[];
  readonly nowMs: number;
  readonly rangeMs: number;
  readonly chosen: string;
  readonly choose: (namespace: string, name: string) => void;
}

export function Timeline({ model, groups, nowMs, rangeMs, chosen, choose }: TimelineProps) {
  const outer = useRef<HTMLDivElement>(null);
  const { width } = useSize(outer);
  const span = spanOf(groups, nowMs, rangeMs);
  const spanMs = span.toMs - span.fromMs;
  const rows = useMemo(
    () => timelineOf(groups, model.acts, model.events, span).slice(0, mostRows),
    [groups, model.acts, model.events, nowMs, rangeMs],
  );
  const room = Math.max(60, width - labelWidth - 28);
  const height = rows.length * rowHeight + axisHeight;
  const offsetMs = new Date(nowMs).getTimezoneOffset() * 60_000;
  return (
    <div class="scroll" ref={outer} tabIndex={0} id="timeline" aria-label="Timeline of jobs">
      {rows.length === 0 ? (
        <p class="empty">No job in this time.</p>
      ) : (
        <svg width={Math.max(0, width)} height={height} role="list">
          {ticksOf(span, offsetMs).map((ms) => {
            const x = labelWidth + 14 + ((ms - span.fromMs) / spanMs) * room;
            return (
              <g key={ms}>
                <line class="rule" x1={x} x2={x} y1={axisHeight - 4} y2={height} />
                <text x={x} y={11} text-anchor="middle">
                  {spanMs > 3_600_000 ? clockText(ms).slice(0, 5) : clockText(ms)}
                </text>
              </g>
            );
          })}
          {rows.map((row, index) => (
            <RowOf
              key={keyOf(row.group)}
              row={row}
              y={axisHeight + index * rowHeight}
              width={width}
              room={room}
              isChosen={keyOf(row.group) === chosen}
              choose={() => choose(row.group.namespace, row.group.name)}
            />
          ))}
        </svg>
      )}
    </div>
  );
}

interface RowProps {
  readonly row: TimelineRow;
  readonly y: number;
  readonly width: number;
  readonly room: number;
  readonly isChosen: boolean;
  readonly choose: () => void;
}

function RowOf({ row, y, width, room, isChosen, choose }: RowProps) {
  const left = labelWidth + 14;
  const name = row.group.name.length > 20 ? `${row.group.name.slice(0, 19)}…` : row.group.name;
  return (
    <g class={isChosen ? 'row chosen' : 'row'} onClick={choose} role="listitem" aria-label={spoken(row)}>
      <rect class="ground" x={0} y={y} width={width} height={rowHeight} />
      <text class="row-label" x={14} y={y + 16}>
        {name}
      </text>
      {row.bars.map((bar, index) => (
        <BarOf key={index} bar={bar} left={left} room={room} y={y + 4} height={rowHeight - 8} />
      ))}
      {row.acts.map((bar, index) => (
        <BarOf key={`act${index}`} bar={bar} left={left} room={room} y={y + 15} height={7} bare />
      ))}
      {row.ticks.map((tick, index) => (
        <line
          key={`tick${index}`}
          class={tick.warning ? 'tick warning' : 'tick'}
          x1={left + tick.at * room}
          x2={left + tick.at * room}
          y1={y + 1}
          y2={y + 5}
        >
          <title>{tick.title}</title>
        </line>
      ))}
    </g>
  );
}

const spoken = ({ group, bars }: TimelineRow): string =>
  `${group.name}: ${bars.map((bar) => bar.title).join(', ')}`;

interface BarProps {
  readonly bar: Bar;
  readonly left: number;
  readonly room: number;
  readonly y: number;
  readonly height: number;
  readonly bare?: boolean;
}

function BarOf({ bar, left, room, y, height, bare = false }: BarProps) {
  const x = left + bar.from * room;
  const width = Math.max(2, (bar.to - bar.from) * room);
  const isDark = bar.look === 'starting' || bar.look === 'pending' || bar.look === 'frozen';
  return (
    <>
      <rect class={bar.look} x={x} y={y} width={width} height={height} rx={2}>
        <title>{bar.title}</title>
      </rect>
      {!bare && width > bar.label.length * 6.2 + 8 && (
        <text class={isDark ? 'bar-label dark' : 'bar-label'} x={x + 6} y={y + 12}>
          {bar.label}
        </text>
      )}
    </>
  );
}
