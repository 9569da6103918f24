import { describe, expect, it } from 'vitest';
import { lineOf, pointsOf, totalOf, type Timeline } from './timelines.ts';

const at = (second: number): string => new Date(second * 1000).toISOString();
const timeline = (rank: number, fine: (number | null)[], coarse: (number | null)[] = []): Timeline => ({
  rank,
  tiers: [
    { end: at(1000), stepSeconds: 10, cores: fine, memoryBytes: fine.map((one) => one && one * 100) },
    { end: at(960), stepSeconds: 60, cores: coarse, memoryBytes: coarse.map(() => null) },
  ],
});

describe('the last hour', () => {
  it('is told coarsely as far back as it goes, and finely of late, each moment once', () => {
    const points = pointsOf(timeline(0, [null, 0.5, 1], [0.1, null, 0.2, 0.9]));
    expect(points.map(({ atMs, cores }) => [atMs / 1000, cores])).toEqual([
      [780, 0.1],
      [900, 0.2],
      [960, 0.9],
      [990, 0.5],
      [1000, 1],
    ]);
  });
  it('is added up over ranks, without steps that not all have told', () => {
    const total = totalOf([timeline(0, [1, 1, 0.5]), timeline(1, [null, 1, 0.25])]);
    expect(total.map(({ atMs, cores, memoryBytes }) => [atMs / 1000, cores, memoryBytes])).toEqual([
      [990, 2, 200],
      [1000, 0.75, 75],
    ]);
    expect(totalOf([])).toEqual([]);
  });
  it('is a line within its box', () => {
    const line = lineOf(pointsOf(timeline(0, [0, 1, 3])), 100, 16);
    const places = line.split(' ').map((pair) => pair.split(',').map(Number));
    expect(places).toHaveLength(3);
    for (const [x = NaN, y = NaN] of places) {
      expect(x >= 0 && x <= 100).toBe(true);
      expect(y >= 0 && y <= 16).toBe(true);
    }
    expect(lineOf([], 100, 16)).toBe('');
  });
});
