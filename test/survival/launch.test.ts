/**
 * Agents and the control plane killed while a job is being launched, at any moment from the first to the last: it runs exactly
 * once or fails and says why; never are there two copies of a rank, and nothing stays behind.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Cluster, eventually } from './cluster.ts';
import { Random } from './random.ts';
import { startedOnce } from './scenarios.ts';

const random = new Random();
let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.up(2);
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

async function launches(
  count: number,
  victims: () => readonly { restart(): Promise<void> }[],
): Promise<number> {
  let ran = 0;
  for (let launch = 0; launch < count; launch++) {
    const outcome = await startedOnce(cluster, 4, async () => {
      // A launch takes some 50 ms from the command to the first instruction of the ranks.
      await pause(random.between(0, 80));
      await Promise.all(victims().map((daemon) => daemon.restart()));
    }).catch((error: unknown) => {
      throw new Error(`MUSTER_SEED=${random.seed}: ${String(error)}\n${cluster.logTail()}`, { cause: error });
    });
    if (outcome === 'ran') ran++;
    await eventually(
      () => cluster.daemons.every((daemon) => daemon.isUp),
      'the killed daemons are up again',
      30_000,
    );
  }
  await cluster.ready();
  await cluster.clean();
  return ran;
}

it('an agent killed during a launch: the job runs all the same, once', async () => {
  expect(await launches(12, () => [random.pick(cluster.agents)])).toBe(12);
});

it('both agents killed during a launch: the job runs all the same, once', async () => {
  expect(await launches(6, () => cluster.agents)).toBe(6);
});

it('the control plane killed during a launch: the job runs once, or its caller is told that it was not accepted', async () => {
  expect(await launches(6, () => [cluster.controller])).toBeGreaterThan(0);
});

it('all killed during a launch: the job runs once, or its caller is told that it was not accepted', async () => {
  await launches(6, () => cluster.daemons);
});
