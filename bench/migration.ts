/**
 * What a migration of one sandbox between two agents costs, by strategy, size and how much its rank writes a second: how long it stands
 * still, how long all of it takes, and how much of its work it loses by both; of StopAndCopy against what CRIU itself takes for the
 * same dump and restore and a plain copy of the same bytes in memory, of the others against StopAndCopy. `make bench T=migration
 * GRID=full` is the whole grid; `MUSTER_BENCH_MIB`, `MUSTER_BENCH_RATES` (lists), `MUSTER_BENCH_RANKS` and `MUSTER_BENCH_ROUNDS`
 * change what is measured. As root.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { programs } from '../test/agent/harness.ts';
import { isolated, Scene, type Job } from '../test/checkpoint/scene.ts';
import { eventually } from '../test/contract/eventually.ts';
import { Move } from '../test/migration/move.ts';
import { median, print, rounded } from './kit/report.ts';

const isFull = process.env['MUSTER_BENCH_GRID'] === 'full';
const numbers = (name: string, usual: string, full = usual): number[] =>
  (process.env[name] ?? (isFull ? full : usual)).split(',').map(Number);
const sizes = numbers('MUSTER_BENCH_MIB', '64,512', '64,512,2048');
const rates = numbers('MUSTER_BENCH_RATES', '32', '0,32,400');
const [ranks = 1] = numbers('MUSTER_BENCH_RANKS', '1');
const [rounds = 3] = numbers('MUSTER_BENCH_ROUNDS', '3');

const strategies = {
  StopAndCopy: {},
  PreCopy: { pagesAhead: true },
  PostCopy: { pagesFollow: true },
} as const;
type Strategy = keyof typeof strategies;
/** How fast it works is measured for so long before and after. */
const restMs = 700;

await using scene = await Scene.start(2);
for (const mib of sizes) for (const rate of rates) await measure(mib, rate);

interface Taken {
  readonly still: number;
  readonly total: number;
  readonly lost: number;
  readonly criu: number;
  readonly copy: number;
  readonly bytes: number;
}

async function measure(mib: number, rate: number): Promise<void> {
  const argv = [`${programs}/writer`, String(mib / ranks), String(rate / ranks)];
  let job = await scene.run({ argv, size: ranks, overrides: { ...isolated(), pmi: 'None' } });
  await scene.hub.until(() => (job.fact()?.memoryBytes ?? 0) > mib * 2 ** 20 * 0.9, 'its memory', 120_000);
  const taken: Record<Strategy, Taken[]> = { StopAndCopy: [], PreCopy: [], PostCopy: [] };
  for (let round = 0; round < rounds; round++)
    for (const [name, options] of Object.entries(strategies)) {
      const move = new Move(scene.hub, job, job.node === 'node1' ? 'node2' : 'node1', options);
      taken[name as Strategy].push(await costOf(move));
      job = move.comer;
    }
  job.want({ want: 'Kill' });
  await scene.hub.ended(job.spec.id);
  const of = (strategy: Strategy, name: keyof Taken): number =>
    rounded(median(taken[strategy].map((each) => each[name])));
  const raw = rounded(of('StopAndCopy', 'criu') + of('StopAndCopy', 'copy'));
  for (const strategy of Object.keys(strategies) as Strategy[]) {
    const bytes = of(strategy, 'bytes');
    const about = { bench: 'migration', strategy, mib, 'MiB/s written': rate, ranks, bytes, unit: 'ms' };
    const value = of(strategy, 'still');
    const stops = strategy === 'StopAndCopy';
    const base = stops ? raw : of('StopAndCopy', 'still');
    const against = { [stops ? 'criu and copy' : 'StopAndCopy']: base };
    print({ ...about, what: 'downtime', value, against, ratio: rounded(value / base) });
    print({ ...about, what: 'work lost', value: of(strategy, 'lost') });
    print({ ...about, what: 'total', value: of(strategy, 'total') });
  }
}

interface Done {
  readonly atMs: number;
  readonly units: number;
}

/** What its rank has told of its work. */
async function workOf(job: Job): Promise<Done[]> {
  const lines = (await job.output(0, false)).split('\n').slice(0, -1);
  return lines.map((line) => {
    const [atMs = NaN, units = NaN] = line.split(' ').map(Number);
    if (Number.isNaN(units)) throw new Error(`rank 0 says: ${line}`);
    return { atMs, units };
  });
}

/** Once it has told of work that it did after this. */
async function workedAfter(job: Job, atMs: number): Promise<Done[]> {
  let work: Done[] = [];
  await eventually(async () => {
    work = await workOf(job);
    if ((work.at(-1)?.atMs ?? 0) < atMs) throw new Error('nothing is told yet');
  }, 60_000);
  return work;
}

async function costOf(move: Move): Promise<Taken> {
  await workedAfter(move.leaver, Date.now() + restMs);
  const beganMs = Date.now();
  const { left, placed, running } = await move.whole();
  const endedMs = Date.now();
  const work = await workedAfter(move.comer, endedMs + restMs);
  const last = (isIn: (done: Done) => boolean): Done => work.findLast(isIn) ?? work[0]!;
  const [before, began, ended, after] = [
    last(({ atMs }) => atMs <= beganMs - restMs),
    last(({ atMs }) => atMs <= beganMs),
    work.find(({ atMs }) => atMs >= endedMs)!,
    work.at(-1)!,
  ];
  const undisturbed =
    (began.atMs - before.atMs + after.atMs - ended.atMs) /
    (began.units - before.units + after.units - ended.units);
  return {
    still: running.stillUs / 1000,
    total: endedMs - beganMs,
    lost: Math.max(0, ended.atMs - began.atMs - (ended.units - began.units) * undisturbed),
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
