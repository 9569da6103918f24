/**
 * What the ranks of one node pay for PMI: barriers, puts and gets, and the exchange that MPI_Init makes, by pmibench, whose
 * rank 0 times them inside the job. Against mpiexec.hydra with the same program.
 */
import path from 'node:path';
import { Cluster, programs } from './kit/cluster.ts';
import { run, type Command } from './kit/command.ts';
import { hydra } from './kit/hydra.ts';
import { interleavedSets, printPair } from './kit/report.ts';

const counts = (process.env['MUSTER_BENCH_RANKS'] ?? '2,4,8,16,32,64').split(',').map(Number);
const rounds = Number(process.env['MUSTER_BENCH_ROUNDS'] ?? 5);
const operations = ['barrier', 'put', 'get', 'exchange'] as const;
type Operation = (typeof operations)[number];

interface Answer {
  readonly barrierMeanUs: number;
  readonly putUs: number;
  readonly getUs: number;
  readonly exchangeUs: number;
}

async function timesOf(command: Command): Promise<Record<Operation, number>> {
  const { stdout } = await run(command);
  const answer = JSON.parse(stdout) as Answer;
  return {
    barrier: answer.barrierMeanUs,
    put: answer.putUs,
    get: answer.getUs,
    exchange: answer.exchangeUs,
  };
}

await using cluster = await Cluster.up(1);
for (const ranks of counts) {
  const times = String(Math.max(100, Math.floor(4000 / ranks)));
  const words = [path.join(programs, 'pmibench'), times, times];
  const medians = await interleavedSets(rounds, operations, {
    ours: async () => timesOf(cluster.run(ranks, ...words)),
    theirs: async () => timesOf(hydra(ranks, ...words)),
  });
  for (const operation of operations) {
    printPair('pmi', { operation, ranks }, 'hydra', medians[operation], 'us');
  }
}
