/**
 * Jobs under kills: the daemons of a cluster of two agents are killed with SIGKILL again and again while jobs run, and not a
 * byte, PMI answer, exit code or rank may be lost or doubled. MUSTER_SEED repeats a run; test/soak does the same for longer.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Chaos, type Victims } from './chaos.ts';
import { Cluster } from './cluster.ts';
import { Random } from './random.ts';
import { failingRank, input, output, pmiRounds, ring } from './scenarios.ts';

const random = new Random();
let cluster: Cluster;
let kills = 0;

beforeAll(async () => {
  cluster = await Cluster.up(2);
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

afterEach(({ task }) => {
  for (const daemon of cluster.daemons) {
    const { surprise } = daemon;
    daemon.surprise = undefined;
    expect(surprise, `seed ${random.seed}`).toBeUndefined();
  }
  if (task.result?.state === 'fail')
    process.stderr.write(`MUSTER_SEED=${random.seed}\n${cluster.logTail()}\n`);
});

async function under(victims: Victims, job: () => Promise<void>): Promise<void> {
  {
    await using chaos = new Chaos(cluster, random, victims);
    await job();
    kills += chaos.kills;
  }
  await cluster.ready();
  await cluster.clean();
}

describe.each(['agents', 'controller', 'all'] as const)('while %s is or are killed', (victims) => {
  it('output and errors reach `muster run` and `muster logs` byte by byte', async () => {
    await under(victims, () => output(cluster, { ranks: 4, bytes: 65_536 * 256, seconds: 7 }));
  });

  it('input reaches the rank byte by byte', async () => {
    await under(victims, () => input(cluster, random, 65_536 * 256, 5));
  });
});

describe('while all are killed', () => {
  it('every PMI request has its answer, once, over two nodes', async () => {
    await under('all', () => pmiRounds(cluster, { ranks: 8, rounds: 100, pauseUs: 20_000 }));
  });

  it('exit code and first failing rank are right', async () => {
    await under('all', async () => {
      for (let job = 0; job < 4; job++) await failingRank(cluster, random, 0.5);
    });
  });

  it('MPICH programs start and run', async () => {
    await under('all', async () => {
      for (let job = 0; job < 4; job++) await ring(cluster);
    });
  });

  it('that was some hundred kills', () => {
    expect(kills).toBeGreaterThan(60);
  });
});
