/**
 * How busy each rank is, as agents answer when they are asked: for the grid, while somebody looks at it. They are asked the less often
 * the more ranks there are, so that neither agents nor hub notice; of those that do not answer nothing is known.
 */
import { RankSet } from '../../crds/rank-set.ts';
import type { RankSample, SandboxId } from '../../wire/agent-types.ts';
import type { Hub } from '../hub/hub.ts';
import { sandboxKey } from '../hub/sandbox-key.ts';
import type { Clock } from '../runtime/clock.ts';
import { pause } from '../runtime/object-source.ts';
import { digitOf } from './items.ts';

export interface RankPlace {
  readonly node: string;
  readonly id: SandboxId;
  readonly ranks: string;
  readonly rankCount: number;
}

export interface SandboxLoad {
  /** As FeedSandbox.load. */
  readonly load: string;
  readonly cores: number;
}

const leastMs = 5_000;
const mostMs = 60_000;
const msPerRank = 0.25;
const atOnce = 8;

export class RankLoads {
  readonly #hub: Pick<Hub, 'ask'>;
  readonly #clock: Clock;
  #known = new Map<string, SandboxLoad>();

  constructor(hub: Pick<Hub, 'ask'>, clock: Clock) {
    this.#hub = hub;
    this.#clock = clock;
  }

  of(id: SandboxId): SandboxLoad | undefined {
    return this.#known.get(sandboxKey(id));
  }

  async run(places: () => readonly RankPlace[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const now = places();
      const byNode = Map.groupBy(now, ({ node }) => node);
      const known = new Map<string, SandboxLoad>();
      const queue = byNode.entries();
      const ask = async (): Promise<void> => {
        for (const [node, own] of queue) {
          if (signal.aborted) return;
          const answer = await this.#hub.ask(node, {
            kind: 'Ranks',
            ids: own.map(({ id }) => id),
            ranks: '',
          });
          for (const [key, load] of loadsOf(own, answer?.ranks ?? [])) known.set(key, load);
        }
      };
      await Promise.all(Array.from({ length: atOnce }, ask));
      this.#known = known;
      const ranks = now.reduce((sum, { rankCount }) => sum + rankCount, 0);
      await pause(this.#clock, Math.max(leastMs, Math.min(mostMs, ranks * msPerRank)), signal);
    }
    this.#known = new Map();
  }
}

/** By sandbox; those of which no rank was told are left out. */
export function loadsOf(
  places: readonly RankPlace[],
  samples: readonly Pick<RankSample, 'id' | 'rank' | 'cores'>[],
): Map<string, SandboxLoad> {
  const bySandbox = Map.groupBy(samples, ({ id }) => (id ? sandboxKey(id) : ''));
  const loads = new Map<string, SandboxLoad>();
  for (const { id, ranks } of places) {
    const own = bySandbox.get(sandboxKey(id));
    if (!own) continue;
    const cores = new Map(own.map((sample) => [sample.rank, sample.cores]));
    const text = [...RankSet.parse(ranks)].map((rank) => digitOf(cores.get(rank) ?? 0)).join('');
    const sum = own.reduce((total, sample) => total + sample.cores, 0);
    loads.set(sandboxKey(id), { load: text, cores: sum });
  }
  return loads;
}
