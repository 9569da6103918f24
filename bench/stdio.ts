/**
 * How fast the ranks' output comes out at a pipe that is read as fast as it can be, in writes of 64 KiB and of 80 bytes, and
 * how fast rank 0 gets its input. Rates are of the whole command, its start included, against mpiexec.hydra. Each job is
 * deleted with its logs before the next one: a virtual machine that gets its memory from the host page by page would otherwise
 * be what is measured (a log of new pages is then written at a fifth of the speed of one whose pages were used before).
 *
 * With writes of 80 bytes most of the time is the ranks' own, of either launcher: of 192 MiB on two cores (perf, CPU time in
 * ms) 16 ranks took 1,180 beside 120 of the pump and 65 of front and reader, against hydra's 1,080, 220 and 45; 4 ranks 1,180,
 * 130 and 90 against 1,270, 430 and 80. A rank is not slowed by a pipe of other size, nor by longer rests of the pump.
 */
import path from 'node:path';
import { Cluster, programs } from './kit/cluster.ts';
import { run, shell, type Command } from './kit/command.ts';
import { hydra } from './kit/hydra.ts';
import { interleaved, print, printPair, median, rounded } from './kit/report.ts';

const rounds = Number(process.env['MUSTER_BENCH_ROUNDS'] ?? 3);
const scale = Number(process.env['MUSTER_BENCH_SCALE'] ?? 1);
const mebibytesOf = (writeBytes: number): number => scale * (writeBytes === 80 ? 192 : 512);

async function outputRate(command: Command, expectedBytes: number): Promise<number> {
  const { wallMs, stdout } = await run(shell(command, '| wc -c'));
  if (Number(stdout) !== expectedBytes)
    throw new Error(`${stdout.trim()} bytes of output, expected ${expectedBytes}`);
  return expectedBytes / 1000 / wallMs;
}

let jobs = 0;

async function ownRate(ranks: number, words: readonly string[], bytes: number): Promise<number> {
  const name = `out-${(jobs += 1)}`;
  const rate = await outputRate(cluster.run(ranks, '--name', name, ...words), bytes);
  await run(cluster.command('delete', 'pg', name));
  return rate;
}

await using cluster = await Cluster.up(1);
for (const writeBytes of [65536, 80]) {
  for (const ranks of [1, 4, 16]) {
    const mebibytes = mebibytesOf(writeBytes) / ranks;
    const words = [path.join(programs, 'outgen'), String(mebibytes), String(writeBytes)];
    const bytes = ranks * Math.floor((mebibytes * 1024 * 1024) / writeBytes) * writeBytes;
    const pair = await interleaved(rounds, {
      ours: async () => ownRate(ranks, words, bytes),
      theirs: async () => outputRate(hydra(ranks, ...words), bytes),
    });
    printPair('stdout', { ranks, writeBytes, mebibytes: mebibytesOf(writeBytes) }, 'hydra', pair, 'MB/s');
  }
}

// hydra loses input beyond some hundred KB, so there is nobody to compare with at sizes that take any time.
const inputMebibytes = 512 * scale;
const rates: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const count = cluster.run(2, path.join(programs, 'incount'));
  const { wallMs, stdout } = await run(shell(count, '', `head -c ${inputMebibytes}M /dev/zero |`));
  if (!stdout.includes(`bytes=${inputMebibytes * 1024 * 1024} `)) throw new Error(`input lost: ${stdout}`);
  rates.push((inputMebibytes * 1024 * 1024) / 1000 / wallMs);
}
print({ bench: 'stdin', ranks: 2, mebibytes: inputMebibytes, value: rounded(median(rates)), unit: 'MB/s' });
