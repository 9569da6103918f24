// Images that are compressed and encrypted: nothing of the job can be read in them, and the job that is brought back is the
// same; who lacks the key is refused by name.
import { randomBytes } from 'node:crypto';
import { chmodSync, cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess } from '../agent/harness.ts';
import { eventually } from '../contract/eventually.ts';
import { criuProgram } from '../criu/criu.ts';
import { isolated, Scene } from './scene.ts';

let scene: Scene;
let packed: AgentProcess;

beforeAll(async () => {
  scene = await Scene.start(1);
  const imageKeyFile = `${scene.hub.directory}/image-key`;
  writeFileSync(imageKeyFile, randomBytes(32).toString('hex'), { mode: 0o600 });
  packed = await AgentProcess.start(scene.hub, 'packed', {
    criu: criuProgram(),
    nodeConfig: { imageKeyFile, imageCompression: 'Zstd' },
  });
});

afterAll(async () => {
  await packed?.[Symbol.asyncDispose]();
  await scene?.[Symbol.asyncDispose]();
});

test('an image is small and unreadable, and what it is of comes back whole', async () => {
  const secret = randomBytes(12).toString('hex');
  const script = `text=${secret}; i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done; echo $text`;
  let job = await scene.run({ argv: ['/bin/bash', '-c', script], overrides: isolated() }, 'packed');
  await eventually(async () => expect((await job.output(0, false)).length).toBeGreaterThan(20));
  const saved = await job.save({ hold: true });
  await job.vacate();

  const directory = `${packed.stateDir}/images/${saved.checkpointUid}-0`;
  for (const name of readdirSync(directory))
    expect(readFileSync(`${directory}/${name}`).includes(secret), name).toBe(false);
  expect(readdirSync(directory).filter((name) => !/^(packed\..*|manifest\.json)$/.test(name))).toEqual([]);

  // A node without the key.
  const elsewhere = `${scene.agents[0]?.stateDir ?? ''}/images/${saved.checkpointUid}-0`;
  cpSync(directory, elsewhere, { recursive: true });
  chmodSync(elsewhere, 0o700);
  job = await job.restore(saved, 'node1');
  expect(job.fact()).toMatchObject({ state: 'Failed', reason: 'RestoreFailed' });
  expect(job.fact()?.message).toContain('and this node has none: give all nodes the same imageKeyFile');
  await job.vacate();

  job = await job.restore(saved, 'packed');
  expect(await scene.hub.ended(job.spec.id)).toMatchObject({ state: 'Ended', succeeded: '0' });
  const lines = (await job.output()).trimEnd().split('\n');
  expect(lines).toEqual([...Array.from({ length: 300 }, (_, at) => String(at)), secret]);
  expect(readdirSync(`${packed.stateDir}/images`)).toEqual([`${saved.checkpointUid}-0`]);
});
