/**
 * The jobs of test/survival at the same time and again and again, while all daemons are killed, for MUSTER_SOAK_MINUTES; without
 * it for ten seconds, so that it is known to work. MUSTER_SEED repeats the kills of a run.
 */
import { expect, it } from 'vitest';
import { Chaos, type Victims } from '../survival/chaos.ts';
import { Cluster } from '../survival/cluster.ts';
import { Random } from '../survival/random.ts';
import { failingRank, input, output, pmiRounds, ring } from '../survival/scenarios.ts';

const seconds = Number(process.env['MUSTER_SOAK_MINUTES'] ?? 1 / 6) * 60;

it(
  'jobs of all kinds lose nothing while daemons are killed',
  { timeout: (seconds + 600) * 1000 },
  async () => {
    const random = new Random();
    await using cluster = await Cluster.up(2);
    const until = performance.now() + seconds * 1000;
    let kills = 0;
    let jobs = 0;
    try {
      do {
        const victims = random.pick<Victims>(['all', 'agents', 'controller']);
        await using chaos = new Chaos(cluster, random, victims);
        const round = Math.min(60, seconds) * 1000;
        const end = Math.min(until, performance.now() + round);
        const again = async (job: () => Promise<void>): Promise<void> => {
          do {
            await job();
            jobs++;
          } while (performance.now() < end);
        };
        await Promise.all([
          again(() => output(cluster, { ranks: 4, bytes: 16_384 * 256, seconds: random.between(1, 10) })),
          again(() => input(cluster, random, 16_384 * 256, random.between(1, 10))),
          again(() => pmiRounds(cluster, { ranks: 6, rounds: 50, pauseUs: 10_000 })),
          again(async () => {
            await failingRank(cluster, random, random.between(0, 1));
            await ring(cluster);
          }),
        ]);
        await chaos.stop();
        kills += chaos.kills;
        await cluster.ready();
        await cluster.clean();
      } while (performance.now() < until);
    } catch (error) {
      throw new Error(
        `MUSTER_SEED=${random.seed}, after ${kills} kills: ${String(error)}\n${cluster.logTail(5000)}`,
        { cause: error },
      );
    }
    process.stdout.write(`soak: ${jobs} jobs, ${kills} kills, seed ${random.seed}\n`);
    expect(kills).toBeGreaterThan(0);
  },
);
