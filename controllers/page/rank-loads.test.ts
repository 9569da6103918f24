import { describe, expect, it } from 'vitest';
import type { Answer, RankSample } from '../../wire/agent-types.ts';
import type { Asked } from '../hub/queries.ts';
import { ManualClock } from '../runtime/manual-clock.ts';
import { loadsOf, RankLoads, type RankPlace } from './rank-loads.ts';

const place = (node: string, ordinal: number, ranks: string, rankCount: number): RankPlace => ({
  ...{ node, ranks, rankCount },
  id: { groupUid: 'u', ordinal, incarnation: 1 },
});
const sample = ({ id }: RankPlace, rank: number, cores: number) => ({ id, rank, cores }) as RankSample;

describe('loads of ranks', () => {
  it('are a digit a rank in the order of ranks, nothing for a rank that was not told', () => {
    const one = place('n1', 0, '0-3,9', 5);
    const silent = place('n1', 1, '4', 1);
    const samples = [sample(one, 9, 0.5), sample(one, 0, 1), sample(one, 2, 7), sample(one, 1, 0.05)];
    expect([...loadsOf([one, silent], samples)]).toEqual([['u/0/1', { load: '90905', cores: 8.55 }]]);
  });
  it('are asked of each node once a round, less often of many ranks, and forgotten with the node', async () => {
    const clock = new ManualClock();
    const asked: string[] = [];
    let answers = true;
    const hub = {
      ask: (node: string, { ids }: Asked): Promise<Answer | undefined> => {
        asked.push(`${node} ${ids?.length}`);
        const ranks = [sample(place(node, 0, '0', 1), 0, 1)];
        return Promise.resolve(answers ? ({ ranks } as Answer) : undefined);
      },
    };
    const loads = new RankLoads(hub, clock);
    const stop = new AbortController();
    const places = [place('n1', 0, '0', 1), place('n1', 1, '1', 1), place('n2', 2, '2-79999', 79_998)];
    const running = loads.run(() => places, stop.signal);
    await new Promise(setImmediate);
    expect(asked.sort()).toEqual(['n1 2', 'n2 1']);
    expect(loads.of(places[0]!.id)).toEqual({ load: '9', cores: 1 });
    answers = false;
    clock.advance(19_000);
    await new Promise(setImmediate);
    expect(asked).toHaveLength(2);
    clock.advance(2_000);
    await new Promise(setImmediate);
    expect(asked).toHaveLength(4);
    expect(loads.of(places[0]!.id)).toBeUndefined();
    stop.abort();
    await running;
  });
});
