import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RankSet } from '../../crds/rank-set.ts';
import { compressPlacement, expandPlacement } from './placement-status.ts';
import { place, type NodeOffer, type PlacementWish } from './place.ts';

function node(name: string, cpus: number, more: Partial<NodeOffer> = {}): NodeOffer {
  return {
    name,
    ready: true,
    cordoned: false,
    labels: {},
    cpus,
    memoryBytes: 2 ** 30,
    ranksPlaced: 0,
    ...more,
  };
}

function shown(wish: PlacementWish, nodes: NodeOffer[]): string {
  const placing = place(wish, nodes);
  if (placing.kind === 'waiting') return `${placing.reason}: ${placing.message}`;
  return placing.sandboxes.map((sandbox) => `${sandbox.node}=${sandbox.ranks}`).join(' ');
}

const three = [node('node10', 2), node('node1', 2), node('node2', 4)];

describe('place', () => {
  it.each<[string, PlacementWish, string]>([
    ['fills nodes by processors', { size: 5, placement: {} }, 'node1=0-1 node2=2-4'],
    ['wraps around', { size: 10, placement: {} }, 'node1=0-1,8-9 node2=2-5 node10=6-7'],
    ['deals cyclically', { size: 7, placement: { policy: 'Cyclic' } }, 'node1=0,3 node2=1,4,6 node10=2,5'],
    ['shares named nodes', { size: 4, placement: { nodes: ['node2', 'node1'] } }, 'node2=0-1 node1=2-3'],
    [
      'gives n shares to n mentions',
      { size: 3, placement: { nodes: ['node2', 'node2', 'node1'] } },
      'node2=0-1 node1=2',
    ],
    [
      'joins shares apart',
      { size: 3, placement: { nodes: ['node2', 'node1', 'node2'] } },
      'node2=0,2 node1=1',
    ],
    [
      'respects processors of named nodes',
      { size: 6, placement: { nodes: ['node1', 'node2'] } },
      'node1=0-1 node2=2-5',
    ],
    ['keeps to ranksPerNode', { size: 3, placement: { ranksPerNode: 1 } }, 'node1=0 node2=1 node10=2'],
    ['cuts sandboxes', { size: 4, placement: { nodes: ['node2'], ranksPerSandbox: 3 } }, 'node2=0-2 node2=3'],
    [
      'says what ranksPerNode leaves',
      { size: 4, placement: { ranksPerNode: 1 } },
      'Insufficient: 4 ranks are wanted, but placement.ranksPerNode 1 leaves room for 3 (node1 1, node2 1, node10 1)',
    ],
    [
      'names unknown nodes',
      { size: 1, placement: { nodes: ['node3'] } },
      'NoSuchNode: spec.placement.nodes: node3 is not known',
    ],
    [
      'honours requests',
      { size: 3, placement: { nodes: ['node1'] }, resources: { requests: { cpu: '1500m' } } },
      'Insufficient: 3 ranks are wanted, but resources.requests leave room for 1 (node1 1)',
    ],
  ])('%s', (_, wish, expected) => expect(shown(wish, three)).toBe(expected));

  it('tells why no node is fit', () => {
    const nodes = [
      node('a', 2, { cordoned: true }),
      node('b', 2, { ready: false, notReadyBecause: 'has had no agent for 70 s' }),
    ];
    expect(shown({ size: 1, placement: {} }, nodes)).toBe(
      'NodeCordoned: No node is fit: a is cordoned; b has had no agent for 70 s',
    );
    expect(shown({ size: 1, placement: {} }, [])).toBe('NodeNotReady: There is no node yet; start an agent.');
    expect(shown({ size: 1, placement: { nodeSelector: { gpu: 'yes' } } }, [node('a', 1)])).toBe(
      'NoNodeMatches: No node is fit: a has no label gpu=yes',
    );
  });

  it('places every rank exactly once, within ranksPerNode, the same way each time', () => {
    const wishes = fc.record({
      size: fc.integer({ min: 1, max: 300 }),
      cpus: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 12 }),
      used: fc.integer({ min: 0, max: 9 }),
      ranksPerNode: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
      ranksPerSandbox: fc.option(fc.integer({ min: 1, max: 7 }), { nil: undefined }),
      policy: fc.constantFrom('Block' as const, 'Cyclic' as const),
      picks: fc.option(fc.array(fc.nat(11), { minLength: 1, maxLength: 15 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(wishes, ({ size, cpus, used, ranksPerNode, ranksPerSandbox, policy, picks }) => {
        const offers = cpus.map((count, i) => node(`n${i}`, count, { ranksPlaced: used }));
        const nodes = picks?.map((pick) => `n${pick % cpus.length}`);
        const wish: PlacementWish = {
          size,
          placement: {
            policy,
            ...(nodes && { nodes }),
            ...(ranksPerNode !== undefined && { ranksPerNode }),
            ...(ranksPerSandbox !== undefined && { ranksPerSandbox }),
          },
        };
        const placing = place(wish, offers);
        expect(place(wish, [...offers].reverse())).toEqual(placing);
        if (placing.kind === 'waiting') {
          expect((ranksPerNode ?? 0) * (nodes ?? cpus).length).toBeLessThan(size);
          return;
        }
        const all = placing.sandboxes.flatMap(({ ranks }) => [...RankSet.parse(ranks)]);
        expect(all.toSorted((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, rank) => rank));
        for (const { rankCount, ranks } of placing.sandboxes) {
          expect(RankSet.parse(ranks).size).toBe(rankCount);
          expect(rankCount).toBeLessThanOrEqual(ranksPerSandbox ?? size);
        }
        const perNode = Map.groupBy(placing.sandboxes, (sandbox) => sandbox.node);
        for (const [name, sandboxes] of perNode) {
          const mentions = nodes ? nodes.filter((other) => other === name).length : 1;
          const count = sandboxes.reduce((sum, { rankCount }) => sum + rankCount, 0);
          expect(count).toBeLessThanOrEqual((ranksPerNode ?? Infinity) * mentions);
        }
        const assignments = placing.sandboxes.map((sandbox) => ({ ...sandbox, incarnation: 1 }));
        const back = expandPlacement(compressPlacement(assignments));
        expect(back.map((a) => [a.ordinal, a.node, [...RankSet.parse(a.ranks)], a.rankCount])).toEqual(
          assignments.map((a) => [a.ordinal, a.node, [...RankSet.parse(a.ranks)], a.rankCount]),
        );
      }),
    );
  });

  it.each(['Block', 'Cyclic'] as const)(
    'places 1,048,576 ranks on 4,096 nodes in a second or so: %s',
    (policy) => {
      const offers = Array.from({ length: 4096 }, (_, i) => node(`node${i}`, 256));
      const begin = performance.now();
      const placing = place({ size: 1_048_576, placement: { policy } }, offers);
      if (placing.kind !== 'placed') throw new Error(placing.message);
      const status = compressPlacement(placing.sandboxes.map((sandbox) => ({ ...sandbox, incarnation: 1 })));
      // Ten of them for a busy machine.
      expect(performance.now() - begin).toBeLessThan(10_000);
      expect(placing.sandboxes).toHaveLength(4096);
      expect(JSON.stringify(status).length).toBeLessThan(1000);
    },
  );
});
