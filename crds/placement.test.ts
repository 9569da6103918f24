import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nodeListText, parseNodeList } from './node-list.ts';
import { compressPlacement, expandPlacement, type SandboxPlace } from './placement.ts';
import { RankSet } from './rank-set.ts';

describe('node lists', () => {
  it.each([
    [['node1', 'node2', 'node3', 'node4'], 'node[1-4]'],
    [['node1', 'node1', 'node3'], 'node[1,1,3]'],
    [['n08', 'n09', 'n10', 'n11'], 'n[08-11]'],
    [['n9', 'n10', 'n011'], 'n[9-10,011]'],
    [['a.x', 'b.x'], 'a.x,b.x'],
    [['rack1-node2.site', 'rack1-node3.site', 'big'], 'rack1-node[2-3].site,big'],
    [[], ''],
  ])('writes %j as %s', (names, text) => {
    expect(nodeListText(names)).toBe(text);
    expect(parseNodeList(text)).toEqual(names);
  });

  it('reads back what it wrote, whatever the names', () => {
    const name = fc.stringMatching(/^[a-z0-9][a-z0-9.-]{0,12}$/);
    const numbered = fc
      .tuple(fc.constantFrom('n', 'node-'), fc.integer({ min: 0, max: 30 }))
      .map((p) => p.join(''));
    fc.assert(
      fc.property(fc.array(fc.oneof(name, numbered), { maxLength: 40 }), (names) => {
        expect(parseNodeList(nodeListText(names))).toEqual(names);
      }),
    );
  });

  it.each(['node[1-', 'node]', 'node[4-1]', 'node[]', 'node[a]', 'n[1-999999999]'])('refuses %s', (text) => {
    expect(() => parseNodeList(text)).toThrow();
  });
});

function cluster(nodes: number, ranksOf: (i: number) => RankSet): SandboxPlace[] {
  return Array.from({ length: nodes }, (_, i) => ({
    ordinal: i,
    node: `node${String(i + 1).padStart(4, '0')}`,
    incarnation: 1,
    ranks: ranksOf(i),
  }));
}

describe('placement', () => {
  it('writes Block and Cyclic layouts of 4,096 nodes as one entry', () => {
    const block = compressPlacement(cluster(4096, (i) => RankSet.range(i * 8, i * 8 + 7)));
    expect(block).toEqual([
      { ordinal: 0, nodes: 'node[0001-4096]', incarnation: 1, ranks: '0-7', rankStep: 8 },
    ]);
    const cyclic = compressPlacement(cluster(4096, (i) => RankSet.range(i, 8 * 4096 - 1, 4096)));
    expect(cyclic).toEqual([
      { ordinal: 0, nodes: 'node[0001-4096]', incarnation: 1, ranks: '0-28672:4096', rankStep: 1 },
    ]);
    expect(expandPlacement(cyclic)[4095]!.ranks.has(4095)).toBe(true);
  });

  it('writes one sandbox plainly', () => {
    const places = [{ ordinal: 0, node: 'node1', incarnation: 1, ranks: RankSet.parse('0-3') }];
    expect(compressPlacement(places)).toEqual([{ ordinal: 0, nodes: 'node1', incarnation: 1, ranks: '0-3' }]);
  });

  it('stays below 64 KiB at 4,096 nodes after a tenth of the sandboxes has moved about', () => {
    const places = cluster(4096, (i) => RankSet.range(i * 8, i * 8 + 7)).map((place) =>
      place.ordinal % 10 === 3
        ? { ...place, node: `spare${(place.ordinal * 7919) % 997}`, incarnation: 2 }
        : place,
    );
    const text = JSON.stringify(compressPlacement(places));
    expect(text.length).toBeLessThan(64 * 1024);
    expect(expandPlacement(JSON.parse(text)).map((place) => place.node)).toEqual(
      places.map((place) => place.node),
    );
  });

  it('reads back what it wrote, whatever the layout', () => {
    const place = fc.record({
      node: fc.constantFrom('n1', 'n2', 'n3', 'big'),
      incarnation: fc.integer({ min: 1, max: 2 }),
      count: fc.integer({ min: 1, max: 3 }),
      gap: fc.integer({ min: 0, max: 1 }),
    });
    fc.assert(
      fc.property(fc.array(place, { maxLength: 30 }), (list) => {
        let rank = 0;
        const places = list.map(({ node, incarnation, count, gap }, ordinal) => {
          const ranks = RankSet.range(rank, rank + count - 1);
          rank += count + gap;
          return { ordinal, node, incarnation, ranks };
        });
        const plain = (all: SandboxPlace[]) => all.map((one) => ({ ...one, ranks: one.ranks.toString() }));
        expect(plain(expandPlacement(compressPlacement(places)))).toEqual(plain(places));
      }),
    );
  });
});
