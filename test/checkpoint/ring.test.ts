// A ring of MPI ranks in one sandbox: saved while it runs on, saved and ended and brought back.
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

const ring = [`${programs}/ring`, '--bytes', '4096', '--report-every', '1', '--seconds', '3600'];

test('a ring is saved and runs on to its end', async () => {
  const job = await scene.run({ argv: ring, size: 4 });
  const { fact } = await job.save();
  expect(fact).toMatchObject({ state: 'Saved', held: false });
  expect(await job.finish()).toMatchObject({ state: 'Ended', succeeded: '0-3' });
  expect(await job.output()).toMatch(/^DONE iterations=\d+ ranks=4 /m);
});

test('a ring is saved, ended and brought back where it was', async () => {
  const job = await scene.run({ argv: ring, size: 4, overrides: isolated() });
  const saved = await job.save({ hold: true });
  expect(saved.fact.held).toBe(true);
  await job.vacate();
  const again = await job.restore(saved);
  expect(await again.finish()).toMatchObject({ state: 'Ended', succeeded: '0-3' });
  const lines = (await again.output()).trimEnd().split('\n');
  const [, iterations = ''] = /^DONE iterations=(\d+) ranks=4 /.exec(lines.at(-1) ?? '') ?? [];
  expect(lines).toHaveLength(Number(iterations) + 1);
  lines.slice(0, -1).forEach((line, at) => expect(line).toContain(`rank 0 iteration ${String(at)} `));
});
