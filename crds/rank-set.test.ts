import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { overlapOf, RankSet } from './rank-set.ts';

const someRanks = fc.uniqueArray(fc.integer({ min: 0, max: 300 }), { maxLength: 80 });
const sorted = (ranks: Iterable<number>) => [...ranks].sort((a, b) => a - b);
const someRange = fc
  .tuple(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 60 }), fc.integer({ min: 1, max: 40 }))
  .map(([first, steps, stride]) => ({
    first,
    last: first + steps * stride,
    stride: steps === 0 ? 1 : stride,
  }));
const ranksIn = (range: { first: number; last: number; stride: number }) =>
  Array.from(
    { length: (range.last - range.first) / range.stride + 1 },
    (_, i) => range.first + i * range.stride,
  );

describe('RankSet', () => {
  it.each([
    ['0-3,7,8-20:2', [0, 1, 2, 3, 7, 8, 10, 12, 14, 16, 18, 20], '0-3,7-8,10-20:2'],
    ['5', [5], '5'],
    ['0-10:4', [0, 4, 8], '0-8:4'],
    ['3,2,1,0', [0, 1, 2, 3], '0-3'],
    ['0-6:2,1-7:2', [0, 1, 2, 3, 4, 5, 6, 7], '0-7'],
    ['', [], ''],
  ])('reads %s', (text, ranks, printed) => {
    const set = RankSet.parse(text);
    expect([...set]).toEqual(ranks);
    expect(set.size).toBe(ranks.length);
    expect(String(set)).toBe(printed);
  });

  it.each([
    ['0-3,3', 'rank 3 is named twice'],
    ['0-8:2,1-9:3', 'rank 4 is named twice'],
    ['4-1', 'range "4-1" ends before it begins; write "1-4"'],
    ['0-4:0', 'stride 0'],
    ['a', '"a" is not a rank'],
    ['1,,2', '"" in "1,,2" is not a rank'],
    ['-1', '"-1" is not a rank'],
    ['0-1048576', 'largest rank there can be, 1048575'],
  ])('refuses %s', (text, message) => {
    expect(() => RankSet.parse(text)).toThrow(message);
  });

  it('prints what it reads back, whatever the ranks', () => {
    fc.assert(
      fc.property(someRanks, (ranks) => {
        const set = RankSet.from(ranks);
        expect([...set]).toEqual(sorted(ranks));
        expect([...RankSet.parse(String(set))]).toEqual(sorted(ranks));
        expect(String(RankSet.parse(String(set)))).toBe(String(set));
      }),
    );
  });

  it('unites, subtracts and intersects as plain sets do', () => {
    fc.assert(
      fc.property(someRanks, someRanks, (a, b) => {
        const [left, right] = [RankSet.from(a), RankSet.from(b)];
        const [plainA, plainB] = [new Set(a), new Set(b)];
        expect([...left.union(right)]).toEqual(sorted(new Set([...a, ...b])));
        expect([...left.minus(right)]).toEqual(sorted(a.filter((rank) => !plainB.has(rank))));
        expect([...left.intersect(right)]).toEqual(sorted(a.filter((rank) => plainB.has(rank))));
        expect(left.union(right).equals(right.union(left))).toBe(true);
        expect(left.equals(right)).toBe(a.length === b.length && a.every((rank) => plainB.has(rank)));
        for (let rank = 0; rank < 310; rank++) expect(left.has(rank)).toBe(plainA.has(rank));
      }),
    );
  });

  it('finds an overlap of ranges exactly when there is one', () => {
    fc.assert(
      fc.property(fc.array(someRange, { maxLength: 6 }), fc.boolean(), (ranges, many) => {
        // Enough further strided ranges, far away, to take the other road.
        const all = many
          ? [
              ...ranges,
              ...Array.from({ length: 70 }, (_, i) => ({ first: 9000 + i, last: 9400 + i, stride: 100 })),
            ]
          : ranges;
        const seen = new Set<number>();
        const doubled = new Set<number>();
        for (const rank of all.flatMap(ranksIn)) (seen.has(rank) ? doubled : seen).add(rank);
        const overlap = overlapOf(all);
        if (doubled.size === 0) expect(overlap).toBeUndefined();
        else {
          expect(doubled).toContain(overlap?.rank);
          expect(ranksIn(all[overlap!.a]!)).toContain(overlap!.rank);
          expect(ranksIn(all[overlap!.b]!)).toContain(overlap!.rank);
          expect(overlap!.a).not.toBe(overlap!.b);
        }
      }),
    );
  });

  it('finds the overlap of very many ranges', () => {
    const ranges = Array.from({ length: 300_000 }, (_, i) => ({ first: 3 * i, last: 3 * i + 2, stride: 2 }));
    expect(overlapOf(ranges)).toBeUndefined();
    expect(overlapOf([...ranges, { first: 7, last: 7, stride: 1 }])).toBeUndefined();
    expect(overlapOf([...ranges, { first: 8, last: 8, stride: 1 }])).toMatchObject({ rank: 8 });
  });

  it('handles a million ranks by their ranges', () => {
    const all = RankSet.parse('0-1048575');
    expect(all.size).toBe(1_048_576);
    const even = RankSet.parse('0-1048574:2');
    const odd = all.minus(even);
    expect(String(odd)).toBe('1-1048575:2');
    expect(odd.union(even).equals(all)).toBe(true);
    expect(String(RankSet.range(0, 7).shift(8 * 4095))).toBe('32760-32767');
  });
});
