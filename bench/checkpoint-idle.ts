/**
 * What it costs a job that computes and sends that it could be saved, while nobody saves it: its rounds on a node with an engine, beside
 * those of the same job on a node that has none, and beside its own before it was saved once; in turns. `MUSTER_BENCH_RANKS` (2),
 * `MUSTER_BENCH_SECONDS` (2, of each look) and `MUSTER_BENCH_ROUNDS` (5). As root.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { programs } from '../test/agent/harness.ts';
import { isolated, Scene, type Job } from '../test/checkpoint/scene.ts';
import { criuProgram } from '../test/criu/criu.ts';
import { interleaved, median, print, printPair, rounded } from './kit/report.ts';

const number = (name: string, usual: number): number => Number(process.env[`MUSTER_BENCH_${name}`] ?? usual);
const [ranks, seconds, rounds] = [number('RANKS', 2), number('SECONDS', 2), number('ROUNDS', 5)];
const bench = 'checkpoint-idle';
const argv = [`${programs}/ring`, '--bytes', '65536', '--seconds', '3600', '--report-every', '20'];

await using scene = await Scene.start(2, criuProgram(), '/nonexistent/criu');

const start = (node: string): Promise<Job> => scene.run({ argv, size: ranks, overrides: isolated() }, node);

async function roundsNow(job: Job): Promise<number> {
  const told = [...(await job.output(0, false)).matchAll(/iteration[ =](\d+)/g)];
  return Number(told.at(-1)?.[1] ?? 0);
}

/** A second. */
async function rateOf(job: Job): Promise<number> {
  const [before, began] = [await roundsNow(job), performance.now()];
  await pause(seconds * 1000);
  return ((await roundsNow(job)) - before) / ((performance.now() - began) / 1000);
}

async function end(job: Job): Promise<void> {
  job.want({ want: 'Kill' });
  await scene.hub.ended(job.spec.id);
  await job.vacate();
}

async function rateOn(node: string): Promise<number> {
  const job = await start(node);
  await pause(500);
  const rate = await rateOf(job);
  await end(job);
  return rate;
}

const pair = { ours: () => rateOn('node1'), theirs: () => rateOn('node2') };
printPair(bench, { ranks }, 'node without engine', await interleaved(rounds, pair), 'rounds/s');

const ratios: number[] = [];
for (let round = 0; round < rounds; round++) {
  const job = await start('node1');
  await pause(500);
  const before = await rateOf(job);
  await job.save();
  await pause(500);
  ratios.push((await rateOf(job)) / before);
  await end(job);
}
print({ bench, ranks, what: 'after one was taken', value: rounded(median(ratios)), unit: 'of before' });
