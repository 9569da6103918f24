/**
 * What a migration of one sandbox between two agents costs: how long its ranks stand still and how long all of it takes, against what
 * CRIU itself takes for the same dump and restore and a plain copy of the same bytes in memory. `MUSTER_BENCH_MIB` (a list),
 * `MUSTER_BENCH_RANKS` and `MUSTER_BENCH_ROUNDS` change what is measured. As root.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { programs } from '../test/agent/harness.ts';
import { isolated, type Job, Scene } from '../test/checkpoint/scene.ts';
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
  const bytes = Math.floor((mib << 20) / ranks / 3);
  const argv = [`${programs}/ring`, '--bytes', String(bytes), '--seconds', '3600', '--report-every', '1'];
  let job = await scene.run({ argv, size: ranks, overrides: isolated() });
  await scene.hub.until(() => (job.fact()?.memoryBytes ?? 0) > (mib << 20) * 0.9, 'its memory', 120_000);
  const taken: Taken[] = [];
  for (let round = 0; round < rounds; round++) {
    const [moved, cost] = await move(job);
    job = moved;
    taken.push({ ...cost, copy: timeOfCopy(cost.bytes) });
  }
  job.want({ want: 'Kill' });
  await scene.hub.ended(job.spec.id);
  const of = (name: keyof Taken): number => rounded(median(taken.map((each) => each[name])));
  const about = { bench: 'migration', mib, ranks, bytes: of('bytes'), unit: 'ms' };
  const raw = rounded(of('criu') + of('copy'));
  const ratio = rounded(of('still') / raw);
  print({ ...about, what: 'downtime', value: of('still'), against: { 'criu and copy': raw }, ratio });
  print({ ...about, what: 'total', value: of('total') });
}

/** To the other of the two nodes. */
async function move(job: Job): Promise<[Job, Omit<Taken, 'copy'>]> {
  const began = performance.now();
  const { job: next, left, placed, running } = await job.moveTo(job.node === 'node1' ? 'node2' : 'node1');
  return [
    next,
    {
      still: running.stillUs / 1000,
      total: performance.now() - began,
      criu: (left.engineUs + placed.engineUs) / 1000,
      bytes: placed.bytes,
    },
  ];
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
