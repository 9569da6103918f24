// The agent killed with SIGKILL at every step of a checkpoint, and while it restores: the sandbox runs on, or is whole again.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { programs } from '../agent/harness.ts';
import { isolated, Scene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await Scene.start();
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const ring = [`${programs}/ring`, '--bytes', '1048576', '--report-every', '1', '--seconds', '3600'];

test('a ring runs on whenever the agent is killed', async () => {
  const job = await scene.run({ argv: ring, size: 3 });
  expect(await scene.killedWhen(job, 'prepared', 'Prepared')).toBe('AgentRestarted');
  expect(await scene.killedWhen(job, 'dumping', 'Dumping')).toBe('AgentRestarted');
  expect(await scene.killedWhen(job, 'dumped', 'Dumped')).toBe('AgentRestarted');
  expect(await scene.killedWhen(job, 'committed', 'Committed')).toBe('Saved');
  const { fact } = await job.save();
  expect(fact.state).toBe('Saved');
  expect(await job.finish()).toMatchObject({ state: 'Ended', succeeded: '0-2', failures: [] });
  expect(await job.output()).toMatch(/^DONE iterations=\d+ ranks=3 /m);
});

test('a ring is whole again though the agent is killed while it restores', async () => {
  let job = await scene.run({ argv: ring, size: 3, overrides: isolated() });
  const saved = await job.save({ hold: true });
  await job.vacate();
  const restoring = job.restore(saved);
  await scene.begun(job.spec.id.groupUid, 2);
  await scene.killAgent();
  job = await restoring;
  expect(await job.finish()).toMatchObject({ state: 'Ended', succeeded: '0-2', failures: [] });
  const lines = (await job.output()).trimEnd().split('\n');
  const [, iterations = ''] = /^DONE iterations=(\d+) ranks=3 /.exec(lines.at(-1) ?? '') ?? [];
  expect(lines).toHaveLength(Number(iterations) + 1);
});
