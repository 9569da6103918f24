/**
 * How long a job takes from the command line to its end: `hostname`, which only starts and prints, and `cpi`, a whole MPI
 * program, against mpiexec.hydra. `MUSTER_BENCH_RANKS` (a list) and `MUSTER_BENCH_ROUNDS` change what is measured.
 */
import path from 'node:path';
import { Cluster, programs } from './kit/cluster.ts';
import { timed } from './kit/command.ts';
import { hydra } from './kit/hydra.ts';
import { interleaved, printPair } from './kit/report.ts';

const counts = (process.env['MUSTER_BENCH_RANKS'] ?? '1,2,4,8,16,32,64,128').split(',').map(Number);
const roundsOf = (program: string, ranks: number): number =>
  Number(process.env['MUSTER_BENCH_ROUNDS'] ?? (program === 'hostname' ? 11 : ranks >= 64 ? 3 : 5));
const words = { hostname: ['hostname'], cpi: [path.join(programs, 'cpi')] };

await using cluster = await Cluster.up(1);
for (const program of ['hostname', 'cpi'] as const) {
  for (const ranks of counts) {
    const lines = program === 'hostname' ? ranks : cpiLines(ranks);
    const pair = await interleaved(roundsOf(program, ranks), {
      ours: async () => timed(cluster.run(ranks, ...words[program]), lines),
      theirs: async () => timed(hydra(ranks, ...words[program]), lines),
    });
    printPair('launch', { program, ranks }, 'hydra', pair, 'ms');
  }
}

/** One greeting a rank, and the result. */
function cpiLines(ranks: number): number {
  return ranks + 1;
}
