import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { processMapping } from './process-mapping.ts';

/** As MPICH deals ranks from a vector. */
function deal(mapping: string, size: number): number[] {
  const blocks = [...mapping.matchAll(/\((\d+),(\d+),(\d+)\)/g)].map((match) => match.slice(1).map(Number));
  const ordinals: number[] = [];
  while (ordinals.length < size) {
    for (const [first = 0, count = 0, each = 0] of blocks) {
      for (let ordinal = first; ordinal < first + count; ordinal++) {
        for (let i = 0; i < each && ordinals.length < size; i++) ordinals.push(ordinal);
      }
    }
  }
  return ordinals;
}

function ranksOf(ordinals: readonly number[]): number[][] {
  const lists: number[][] = Array.from({ length: Math.max(...ordinals) + 1 }, () => []);
  ordinals.forEach((ordinal, rank) => lists[ordinal]?.push(rank));
  return lists;
}

describe('processMapping', () => {
  it.each([
    ['two ranks in one sandbox', [[0, 1]], '(vector,(0,1,1))'],
    [
      'four ranks by block',
      [
        [0, 1],
        [2, 3],
      ],
      '(vector,(0,2,2))',
    ],
    [
      'four ranks in turn',
      [
        [0, 2],
        [1, 3],
      ],
      '(vector,(0,2,1))',
    ],
    [
      'five ranks in turn',
      [
        [0, 2, 4],
        [1, 3],
      ],
      '(vector,(0,2,1))',
    ],
    ['three and one', [[0, 1, 2], [3]], '(vector,(0,1,3),(1,1,1))'],
    ['a hole in the ordinals', [[0, 1], [], [2, 3]], '(vector,(0,1,2),(2,1,2))'],
  ])('of %s', (_what, lists, expected) => {
    expect(processMapping(lists, 800)).toBe(expected);
  });

  it('dealt by MPICH gives every rank its sandbox', () => {
    const ordinals = fc.oneof(
      fc.array(fc.nat(5), { minLength: 1, maxLength: 60 }),
      fc
        .tuple(
          fc.integer({ min: 1, max: 6 }),
          fc.integer({ min: 1, max: 4 }),
          fc.integer({ min: 1, max: 60 }),
        )
        .map(([nodes, each, size]) =>
          Array.from({ length: size }, (_, rank) => Math.floor(rank / each) % nodes),
        ),
    );
    fc.assert(
      fc.property(ordinals, (dealt) => {
        const mapping = processMapping(ranksOf(dealt), 100_000);
        expect(mapping).not.toBeNull();
        expect(deal(mapping ?? '', dealt.length)).toEqual(dealt);
      }),
    );
  });

  it('of a million ranks takes a short line', () => {
    const lists = Array.from({ length: 1024 }, (_, ordinal) =>
      Array.from({ length: 1024 }, (_, i) => ordinal * 1024 + i),
    );
    expect(processMapping(lists, 800)).toBe('(vector,(0,1024,1024))');
  });

  it('that would not fit is none', () => {
    const ordinals = Array.from({ length: 2000 }, (_, rank) => (rank * rank) % 997);
    expect(processMapping(ranksOf(ordinals), 800)).toBeNull();
    expect(processMapping([], 800)).toBeNull();
  });

  it('names a rank that is missing or twice', () => {
    expect(() =>
      processMapping(
        [
          [0, 1],
          [1, 2],
        ],
        800,
      ),
    ).toThrow('rank 1 of sandbox 1 is also in sandbox 0');
    expect(() => processMapping([[0, 7]], 800)).toThrow('rank 7 of sandbox 0 is outside 0..1');
  });
});
