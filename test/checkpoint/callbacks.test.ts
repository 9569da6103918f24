// Programs that take part in their own checkpoints, by the library or by a signal: told before, asked, told after, whatever
// comes of it; and what they are in the middle of is not cut in two.
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { programs } from '../agent/harness.ts';
import { eventually } from '../contract/eventually.ts';
import { isolated, Scene, type Job } from './scene.ts';

let scene: Scene;
const obstacle = `/var/tmp/muster-obstacle-${String(process.pid)}`;

beforeAll(async () => {
  scene = await Scene.start();
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
  rmSync(obstacle, { force: true });
});

const said = async (job: Job): Promise<string[]> => (await job.output(0, false)).trimEnd().split('\n');
const before = ['first before', 'second before'];
const after = (word: string): string[] => [`second ${word}`, `first ${word}`];

test('callbacks run before, after, and after a restart; one that refuses is heard', async () => {
  let job = await scene.run({ argv: [`${programs}/callbacks`, obstacle, '6'], overrides: isolated() });
  await eventually(async () => expect(await said(job)).toEqual(['ready']));
  expect((await job.save()).fact.state).toBe('Saved');
  const first = ['ready', ...before, ...after('continue')];
  await eventually(async () => expect(await said(job)).toEqual(first));

  writeFileSync(obstacle, '');
  await expect(job.save()).rejects.toThrow(
    /PreflightFailed: MUSTER_CALLBACK: process 2 refuses to be saved now \(error 16\)/,
  );
  rmSync(obstacle);
  // Who had let go takes it again; who refused has let go of nothing.
  const second = [...first, ...before, 'first continue'];
  await eventually(async () => expect(await said(job)).toEqual(second));

  const saved = await job.save({ hold: true });
  await job.vacate();
  job = await job.restore(saved);
  const third = [...second, ...before, ...after('restart')];
  await eventually(async () => expect(await said(job)).toEqual(third));
  expect(await scene.hub.ended(job.spec.id)).toMatchObject({ state: 'Ended', succeeded: '0' });
  expect(await said(job)).toEqual([...third, 'over']);
  expect(readdirSync(`${scene.agents[0]?.stateDir ?? ''}/images`)).not.toEqual([]);
});

test('a signal tells ranks that use no library, and they have time', async () => {
  const script =
    'trap "echo before; sleep 0.3; echo done" USR2; trap end=1 USR1; echo ready; while [ -z "$end" ]; do sleep 0.05; done; echo over';
  const job = await scene.run({ argv: ['/bin/bash', '-c', script] });
  await eventually(async () => expect(await said(job)).toEqual(['ready']));
  await job.save({ signal: 12, signalMs: 2000 });
  expect(await said(job)).toEqual(['ready', 'before', 'done']);
  await scene.hub.verb('node1', { id: job.spec.id, kind: 'Signal', signal: 10, signalId: 1 });
  expect(await scene.hub.ended(job.spec.id)).toMatchObject({ succeeded: '0' });
});
