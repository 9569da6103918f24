/**
 * What happened to groups when, as bars on rows: the phases of each, its checkpoints and migrations on top, warnings as ticks. Pure;
 * places are shares of the shown time, 0 to 1.
 */
import type { FeedAct, FeedEvent, FeedGroup } from '../wire/page-feed.ts';
import { durationText } from './text.ts';

export interface Bar {
  readonly from: number;
  readonly to: number;
  /** A class of the style sheet. */
  readonly look: string;
  readonly label: string;
  readonly title: string;
}

export interface Tick {
  readonly at: number;
  readonly title: string;
  readonly warning: boolean;
}

export interface TimelineRow {
  readonly group: FeedGroup;
  readonly bars: readonly Bar[];
  readonly acts: readonly Bar[];
  readonly ticks: readonly Tick[];
}

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

const looks: Readonly<Record<string, string>> = {
  Pending: 'pending',
  Placing: 'pending',
  Starting: 'starting',
  Running: 'running',
  Suspending: 'frozen',
  Suspended: 'frozen',
  Resuming: 'starting',
  Restarting: 'starting',
  Stopping: 'ended',
  Stalled: 'failed',
};

export const isOver = (phase: string): boolean => phase === 'Succeeded' || phase === 'Failed';

/** The time up to now, but no more of it than there were jobs in, and a minute at least. */
export function spanOf(groups: Iterable<FeedGroup>, nowMs: number, rangeMs: number): Span {
  let earliestMs = nowMs;
  for (const { past } of groups) earliestMs = Math.min(earliestMs, past[0]?.[1] ?? nowMs);
  const neededMs = Math.max(60_000, (nowMs - earliestMs) * 1.03);
  return { fromMs: nowMs - Math.min(rangeMs, neededMs), toMs: nowMs };
}

/** Groups that were there in the span, the newest first. */
export function timelineOf(
  groups: Iterable<FeedGroup>,
  acts: readonly FeedAct[],
  events: readonly FeedEvent[],
  span: Span,
): TimelineRow[] {
  const rows: TimelineRow[] = [];
  for (const group of groups) {
    const bars = barsOf(group, span);
    if (bars.length === 0) continue;
    const own = acts.filter((act) => act.group === group.name && act.namespace === group.namespace);
    rows.push({
      group,
      bars,
      acts: own.flatMap((act) => actBar(act, span)),
      ticks: events.flatMap((event) =>
        event.about === group.name && event.namespace === group.namespace && isIn(event.atMs, span)
          ? [
              {
                at: shareOf(event.atMs, span),
                title: `${event.reason}: ${event.note}`,
                warning: event.warning,
              },
            ]
          : [],
      ),
    });
  }
  return rows.sort((a, b) => b.group.createdMs - a.group.createdMs);
}

const isIn = (ms: number, { fromMs, toMs }: Span): boolean => ms >= fromMs && ms <= toMs;
const shareOf = (ms: number, { fromMs, toMs }: Span): number =>
  Math.max(0, Math.min(1, (ms - fromMs) / (toMs - fromMs)));

function barsOf({ past, finishedMs }: FeedGroup, span: Span): Bar[] {
  const bars: Bar[] = [];
  for (const [index, [phase, sinceMs]] of past.entries()) {
    if (isOver(phase)) continue;
    const next = past[index + 1]?.[1] ?? (finishedMs > 0 ? finishedMs : span.toMs);
    if (next <= span.fromMs || sinceMs >= span.toMs) continue;
    const lasted = durationText(next - sinceMs);
    bars.push({
      from: shareOf(sinceMs, span),
      to: shareOf(next, span),
      look: looks[phase] ?? 'pending',
      label: `${phase.toLowerCase()} ${lasted}`,
      title: `${phase} for ${lasted}`,
    });
  }
  return bars;
}

function actBar(act: FeedAct, span: Span): Bar[] {
  const from = act.startedMs || act.createdMs;
  const to = act.finishedMs || span.toMs;
  if (from === 0 || to <= span.fromMs || from >= span.toMs) return [];
  return [
    {
      from: shareOf(from, span),
      to: shareOf(to, span),
      look: act.phase === 'Failed' ? 'failed' : act.kind,
      label: `${act.kind} ${durationText(to - from)}`,
      title: actTitle(act, to - from),
    },
  ];
}

function actTitle(act: FeedAct, lastedMs: number): string {
  const stood = act.downtimeMs > 0 ? `, ranks stood still for ${durationText(act.downtimeMs)}` : '';
  const way = act.kind === 'migration' ? ` from ${act.from || '?'} to ${act.to || '?'}` : '';
  const why = act.message === '' ? '' : `: ${act.message}`;
  return `${act.kind} ${act.name}${way}: ${act.phase}, ${durationText(lastedMs)}${stood}${why}`;
}

/** Round moments within the span, some five to ten of them. */
export function ticksOf({ fromMs, toMs }: Span, offsetMs: number): number[] {
  const steps = [5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400].map((seconds) => seconds * 1000);
  const step = steps.find((one) => (toMs - fromMs) / one <= 10) ?? 86_400_000;
  const first = Math.ceil((fromMs - offsetMs) / step) * step + offsetMs;
  return Array.from({ length: Math.floor((toMs - first) / step) + 1 }, (_, index) => first + index * step);
}
