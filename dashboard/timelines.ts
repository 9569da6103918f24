/** What ranks used in the last hour, as the API tells it (docs/monitor.md), in the forms in which the page draws it. Pure. */
import type { Sample } from './usage-history.ts';

export interface Tier {
  readonly end: string;
  readonly stepSeconds: number;
  readonly cores: readonly (number | null)[];
  readonly memoryBytes: readonly (number | null)[];
}

export interface Timeline {
  readonly rank: number;
  readonly tiers: readonly Tier[];
}

interface Point {
  readonly atMs: number;
  readonly cores: number;
  readonly memoryBytes: number;
}

const hourMs = 3_600_000;

/** The coarse tier as far as it goes alone, then the finest. */
export function pointsOf({ tiers }: Pick<Timeline, 'tiers'>): Point[] {
  const points: Point[] = [];
  let untilMs = Infinity;
  // The finest reaches back least; each coarser one is taken only before it.
  for (const tier of tiers) {
    const own = stepsOf(tier).filter(({ atMs }) => atMs < untilMs);
    points.unshift(...own);
    untilMs = Math.min(untilMs, own[0]?.atMs ?? Infinity);
  }
  return points;
}

function stepsOf({ end, stepSeconds, cores, memoryBytes }: Tier): Point[] {
  const endMs = Date.parse(end);
  return cores.flatMap((value, index) =>
    value === null
      ? []
      : [
          {
            atMs: endMs - (cores.length - 1 - index) * stepSeconds * 1000,
            cores: value,
            memoryBytes: memoryBytes[index] ?? 0,
          },
        ],
  );
}

/** Of all ranks together, by the steps of the first. */
export function totalOf(timelines: readonly Timeline[]): Sample[] {
  const all = timelines.map(pointsOf);
  const sums = new Map<number, { cores: number; memoryBytes: number; count: number }>();
  for (const points of all) {
    for (const { atMs, cores, memoryBytes } of points) {
      // Agents measure at moments of their own: what lies within ten seconds is one step.
      const slot = Math.round(atMs / 10_000) * 10_000;
      const sum = sums.get(slot) ?? { cores: 0, memoryBytes: 0, count: 0 };
      sums.set(slot, {
        cores: sum.cores + cores,
        memoryBytes: sum.memoryBytes + memoryBytes,
        count: sum.count + 1,
      });
    }
  }
  // A step that not all have told yet would look like a fall.
  return [...sums]
    .filter(([, { count }]) => count >= all.length)
    .sort(([a], [b]) => a - b)
    .map(([atMs, { cores, memoryBytes }]) => ({ atMs, cores, memoryBytes }));
}

/** The points of an SVG polyline of the last hour, or of what there is of it; empty: less than two points. */
export function lineOf(points: readonly Point[], width: number, height: number): string {
  const first = points[0];
  const last = points.at(-1);
  if (!first || !last || points.length < 2) return '';
  const spanMs = Math.max(120_000, Math.min(hourMs, last.atMs - first.atMs));
  const most = Math.max(1, ...points.map(({ cores }) => cores));
  return points
    .filter(({ atMs }) => last.atMs - atMs <= spanMs)
    .map(({ atMs, cores }) => {
      const x = width - ((last.atMs - atMs) / spanMs) * width;
      return `${x.toFixed(1)},${(height - 1 - (cores / most) * (height - 2)).toFixed(1)}`;
    })
    .join(' ');
}
