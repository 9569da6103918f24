// A ring over several sandboxes in networks of their own: nothing on its way between them is lost or doubled by a cut.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { programs } from '../agent/harness.ts';
import { Scene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await Scene.start(2);
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const ring = [`${programs}/ring`, '--bytes', '65536', '--report-every', '1', '--seconds', '3600'];
const nodes = ['node1', 'node1', 'node2'];

test('a ring over three sandboxes is saved again and again and runs on', async () => {
  const group = await scene.runGroup(ring, 2, nodes);
  for (let round = 0; round < 3; round++) await group.save();
  const ended = await group.finish();
  expect(ended.map(({ succeeded }) => succeeded)).toEqual(['0-1', '2-3', '4-5']);
  expect(await group.jobs[0]?.output()).toMatch(/^DONE iterations=\d+ ranks=6 /m);
});

test('a ring over three sandboxes is saved, ended and brought back on other nodes, twice', async () => {
  const group = await scene.runGroup(ring, 2, nodes);
  const saved = await group.save({ hold: true });
  await group.vacate();
  const moved = await group.restore(saved, ['node2', 'node1', 'node1']);
  const savedAgain = await moved.save({ hold: true });
  await moved.vacate();
  const again = await moved.restore(savedAgain, ['node2', 'node2', 'node2']);
  const ended = await again.finish();
  expect(ended.map(({ message }) => message)).toEqual(['', '', '']);
  expect(ended.map(({ succeeded }) => succeeded)).toEqual(['0-1', '2-3', '4-5']);
  const lines = (await again.jobs[0]?.output())?.trimEnd().split('\n') ?? [];
  const [, iterations = ''] = /^DONE iterations=(\d+) ranks=6 /.exec(lines.at(-1) ?? '') ?? [];
  expect(lines).toHaveLength(Number(iterations) + 1);
  lines.slice(0, -1).forEach((line, at) => expect(line).toContain(`rank 0 iteration ${String(at)} `));
});
