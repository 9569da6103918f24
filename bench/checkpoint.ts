/**
 * What a checkpoint and a restore of one sandbox cost: how long its ranks stand still, of which CRIU's own run is a part, and
 * how long until it is on the disk and checked; against a copy of the same bytes. `MUSTER_BENCH_MIB` and `MUSTER_BENCH_RANKS`
 * (lists) and `MUSTER_BENCH_ROUNDS` change what is measured. As root.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { programs } from '../test/agent/harness.ts';
import { isolated, Scene } from '../test/checkpoint/scene.ts';
import { median, print, rounded } from './kit/report.ts';

const numbers = (name: string, usual: string): number[] =>
  (process.env[name] ?? usual).split(',').map(Number);
const sizes = numbers('MUSTER_BENCH_MIB', '64,512');
const counts = numbers('MUSTER_BENCH_RANKS', '1,4');
const [rounds = 3] = numbers('MUSTER_BENCH_ROUNDS', '3');

await using scene = await Scene.start();
for (const mib of sizes) for (const ranks of counts) await measure(mib, ranks);

/** Three blocks a rank are most of its memory. */
async function measure(mib: number, ranks: number): Promise<void> {
  const bytes = Math.floor((mib << 20) / ranks / 3);
  const argv = [`${programs}/ring`, '--bytes', String(bytes), '--seconds', '3600', '--report-every', '1'];
  const job = await scene.run({ argv, size: ranks, overrides: isolated() });
  await scene.hub.until(() => (job.fact()?.memoryBytes ?? 0) > (mib << 20) * 0.9, 'its memory', 120_000);
  const taken: {
    still: number;
    criu: number;
    total: number;
    copy: number;
    restore: number;
    bytes: number;
  }[] = [];
  let now = job;
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const { fact, checkpointUid } = await now.save();
    const total = performance.now() - began;
    const copy = timeOfCopy(`${scene.agents[0]?.stateDir ?? ''}/images/${checkpointUid}-0`);
    const held = await now.save({ hold: true });
    await now.vacate();
    const again = performance.now();
    now = await now.restore(held);
    taken.push({
      still: (fact.thawedNs - fact.frozenNs) / 1e6,
      criu: fact.dumpUs / 1000,
      total,
      copy,
      restore: performance.now() - again,
      bytes: fact.bytes,
    });
  }
  now.want({ want: 'Kill' });
  await scene.hub.ended(now.spec.id);
  const of = (name: keyof (typeof taken)[number]): number => rounded(median(taken.map((each) => each[name])));
  const about = { bench: 'checkpoint', mib, ranks, bytes: of('bytes'), unit: 'ms' };
  const criu = of('criu');
  const ratio = rounded(of('still') / criu);
  print({ ...about, what: 'downtime', value: of('still'), against: { criu }, ratio });
  print({ ...about, what: 'own share of downtime', value: rounded(of('still') - criu) });
  print({ ...about, what: 'saved and checked', value: of('total'), against: { copy: of('copy') } });
  print({ ...about, what: 'restore, images checked', value: of('restore') });
}

/** As slow as the disk cache is, and no slower. */
function timeOfCopy(directory: string): number {
  const began = performance.now();
  execFileSync('cp', ['-r', '--reflink=never', directory, `${directory}.copy`]);
  const elapsed = performance.now() - began;
  if (readdirSync(`${directory}.copy`).length > 0) execFileSync('rm', ['-r', `${directory}.copy`]);
  return elapsed;
}
