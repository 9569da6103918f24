/**
 * What a migration of one sandbox between two agents costs, by strategy: how long its ranks stand still and how long all of it takes;
 * of StopAndCopy against what CRIU itself takes for the same dump and restore and a plain copy of the same bytes in memory, of
 * PostCopy against StopAndCopy. `MUSTER_BENCH_MIB` (a list), `MUSTER_BENCH_RANKS` and `MUSTER_BENCH_ROUNDS` change what is
 * measured. As root.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { programs } from '../test/agent/harness.ts';
import { isolated, Scene } from '../test/checkpoint/scene.ts';
import { Move } from '../test/migration/move.ts';
import { median, print, rounded } from './kit/report.ts';

const numbers = (name: string, usual: string): number[] =>
  (process.env[name] ?? usual).split(',').map(Number);
const sizes = numbers('MUSTER_BENCH_MIB', '16,64,512');
const [ranks = 2] = numbers('MUSTER_BENCH_RANKS', '2');
const [rounds = 5] = numbers('MUSTER_BENCH_ROUNDS', '5');

await using scene = await Scene.start(2);
for (const mib of sizes) await measure(mib);

interface Taken {
  readonly still: number;
  readonly total: number;
  readonly criu: number;
  readonly copy: number;
  readonly bytes: number;
}

/** Three blocks a rank are most of its memory. */
async function measure(mib: number): Promise<void> {
  const bytes = Math.floor((mib * 2 ** 20) / ranks / 3);
  const argv = [`${programs}/ring`, '--bytes', String(bytes), '--seconds', '3600', '--report-every', '1'];
  let job = await scene.run({ argv, size: ranks, overrides: isolated() });
  await scene.hub.until(() => (job.fact()?.memoryBytes ?? 0) > mib * 2 ** 20 * 0.9, 'its memory', 120_000);
  const copied: Taken[] = [];
  const followed: Taken[] = [];
  for (let round = 0; round < rounds; round++)
    for (const [taken, pagesFollow] of [
      [copied, false],
      [followed, true],
    ] as const) {
      const move = new Move(scene.hub, job, job.node === 'node1' ? 'node2' : 'node1', { pagesFollow });
      taken.push(await costOf(move));
      job = move.comer;
    }
  job.want({ want: 'Kill' });
  await scene.hub.ended(job.spec.id);
  const of = (taken: readonly Taken[], name: keyof Taken): number =>
    rounded(median(taken.map((each) => each[name])));
  const raw = rounded(of(copied, 'criu') + of(copied, 'copy'));
  const still = of(copied, 'still');
  for (const [strategy, taken, against] of [
    ['StopAndCopy', copied, { 'criu and copy': raw }],
    ['PostCopy', followed, { StopAndCopy: still }],
  ] as const) {
    const about = { bench: 'migration', strategy, mib, ranks, bytes: of(taken, 'bytes'), unit: 'ms' };
    const value = of(taken, 'still');
    const [base = 0] = Object.values(against);
    print({ ...about, what: 'downtime', value, against, ratio: rounded(value / base) });
    print({ ...about, what: 'total', value: of(taken, 'total') });
  }
}

async function costOf(move: Move): Promise<Taken> {
  const began = performance.now();
  const { left, placed, running } = await move.whole();
  return {
    still: running.stillUs / 1000,
    total: performance.now() - began,
    criu: (left.engineUs + placed.engineUs) / 1000,
    copy: timeOfCopy(placed.bytes),
    bytes: placed.bytes,
  };
}

function timeOfCopy(bytes: number): number {
  const directory = mkdtempSync('/dev/shm/muster-bench-');
  try {
    writeFileSync(`${directory}/from`, Buffer.alloc(1 << 20, 1));
    truncateSync(`${directory}/from`, bytes);
    const began = performance.now();
    execFileSync('cp', ['--sparse=never', `${directory}/from`, `${directory}/to`]);
    return performance.now() - began;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
