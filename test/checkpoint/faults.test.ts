// What goes wrong while a sandbox is saved harms no rank: the engine is killed at any moment, is missing, has no room.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cgroups, parseHierarchies } from '../../node-agent/cgroups.ts';
import { engineCgroupOf } from '../../node-agent/checkpoint/criu-process.ts';
import { defaultNodeConfig } from '../../node-agent/config.ts';
import { programs } from '../agent/harness.ts';
import { eventually } from '../contract/eventually.ts';
import { Scene, type Job } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await Scene.start();
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const ring = [`${programs}/ring`, '--bytes', '65536', '--report-every', '1', '--seconds', '3600'];

/** Processes of engines, as the kernel knows them. */
function enginePids(key: string): number[] {
  const hierarchies = parseHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
  return scene.agents.flatMap(({ stateDir, node }) =>
    new Cgroups(hierarchies, defaultNodeConfig.cgroupParent, stateDir, node).of(engineCgroupOf(key)).pids(),
  );
}

function killEngine(key: string): void {
  for (const pid of enginePids(key)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}

const isOver = (job: Job): boolean => ['Aborted', 'Dumped'].includes(job.fact()?.checkpoint?.state ?? '');

/** Calls a checkpoint off, and waits until the sandbox runs again. */
async function callOff(job: Job, uid: string): Promise<void> {
  job.order(uid, 'Abort');
  await scene.hub.until(() => {
    const { checkpoint } = job.fact() ?? {};
    return checkpoint?.state === 'Aborted' && !checkpoint.held;
  }, 'it to run again');
}

test('a ring runs on when its checkpoint is called off at any moment', async () => {
  const job = await scene.run({ argv: ring, size: 4 });
  const wholeMs = (await job.save()).fact.dumpUs / 1000;
  for (let round = 0; round < 6; round++) {
    const uid = `a${String(process.pid)}-${String(round)}`;
    job.order(uid, 'Prepare');
    await job.reached(uid, 'Prepared');
    job.order(uid, 'Dump');
    await after((round / 6) * wholeMs);
    await callOff(job, uid);
  }
  expect(await job.finish()).toMatchObject({ state: 'Ended', succeeded: '0-3', failures: [] });
  expect(await job.output()).toMatch(/^DONE iterations=\d+ ranks=4 /m);
});

test('ranks outlive their engine, killed while it reads their memory', async () => {
  const large = [
    `${programs}/ring`,
    '--bytes',
    String(32 << 20),
    '--iterations',
    '80',
    '--report-every',
    '1',
  ];
  const job = await scene.run({ argv: large, size: 3 });
  const key = `${job.spec.id.groupUid}-0-1`;
  await eventually(async () => expect(await job.output(0, false)).toContain('iteration 2 '), 30_000);
  let killed = 0;
  for (let round = 0; round < 12 && killed < 3; round++) {
    const uid = `k${String(process.pid)}-${String(round)}`;
    job.order(uid, 'Prepare');
    await job.reached(uid, 'Prepared');
    job.order(uid, 'Dump');
    const images = `${scene.agents[0]?.stateDir ?? ''}/images/${uid}-0`;
    await eventually(() => {
      expect(isOver(job) || readPages(images) > (8 << 20) * (1 + killed * 2)).toBe(true);
    }, 30_000);
    killEngine(key);
    await scene.hub.until(() => isOver(job), 'its end');
    const fact = job.fact()?.checkpoint;
    if (fact?.state === 'Aborted') {
      killed++;
      expect(fact.reason).toBe('DumpFailed');
      expect(existsSync(images)).toBe(false);
    }
    await callOff(job, uid);
  }
  expect(killed).toBe(3);
  const ended = await scene.hub.ended(job.spec.id, 90_000);
  expect(ended).toMatchObject({ state: 'Ended', succeeded: '0-2', failures: [] });
  expect(await job.output()).toMatch(/^DONE iterations=80 ranks=3 /m);
});

/** Bytes of memory that are in an image in the making. */
function readPages(images: string): number {
  let bytes = 0;
  for (const name of existsSync(images) ? readdirSync(images) : [])
    if (name.startsWith('pages-')) bytes += statSync(`${images}/${name}`).size;
  return bytes;
}
