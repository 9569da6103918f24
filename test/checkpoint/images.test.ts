// Images that are not what was saved: changed, of another job, with links in them, somebody else's, gone. Each is refused with
// the reason, nothing of it runs, and what is whole again is restored exactly; where another node has a whole one, that is used.
import {
  chmodSync,
  chownSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SandboxFact } from '../../wire/agent-types.ts';
import { programs } from '../agent/harness.ts';
import { isolated, Scene, type Job, type Saved } from './scene.ts';

let scene: Scene;
let job: Job;
let saved: Saved;
let directory: string;

beforeAll(async () => {
  scene = await Scene.start(2);
  const argv = [`${programs}/ring`, '--bytes', '65536', '--report-every', '1', '--seconds', '4'];
  job = await scene.run({ argv, size: 3, overrides: isolated() });
  saved = await job.save({ hold: true });
  await job.vacate();
  directory = imageOn(0, saved.checkpointUid);
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const imageOn = (agent: number, uid: string): string =>
  `${scene.agents[agent]?.stateDir ?? ''}/images/${uid}-0`;

/** The largest of its files: what the ranks' memory is in. */
function memoryFile(): string {
  const [file = ''] = readdirSync(directory)
    .filter((name) => name.startsWith('pages-'))
    .sort((a, b) => readFileSync(`${directory}/${b}`).length - readFileSync(`${directory}/${a}`).length);
  return `${directory}/${file}`;
}

async function refused(from: Saved = saved): Promise<SandboxFact> {
  job = await job.restore(from);
  const fact = job.fact() as SandboxFact;
  expect(fact).toMatchObject({ state: 'Failed', reason: 'ImageDamaged', ranksRunning: 0 });
  await job.vacate();
  return fact;
}

test('bits that were flipped are found, and the file is named', async () => {
  const path = memoryFile();
  const whole = readFileSync(path);
  const flipped = Buffer.from(whole);
  flipped.writeUInt8(flipped.readUInt8(whole.length >> 1) ^ 0x10, whole.length >> 1);
  writeFileSync(path, flipped);
  expect((await refused()).message).toMatch(/file pages-\S+ is not what was written/);
  writeFileSync(path, whole.subarray(0, whole.length - 4096));
  expect((await refused()).message).toMatch(/pages-\S+ is not what was written \(\d+ bytes, \d+ expected\)/);
  writeFileSync(path, whole);
});

test('a manifest of another checkpoint is refused, even where its digest is the one expected', async () => {
  const path = `${directory}/manifest.json`;
  const whole = readFileSync(path);
  const other = Buffer.from(whole.toString().replaceAll(saved.checkpointUid, 'another-one'));
  writeFileSync(path, other);
  expect((await refused()).message).toContain('the Checkpoint says');
  const digest = `sha256:${createHash('sha256').update(other).digest('hex')}`;
  const { message } = await refused({ ...saved, fact: { ...saved.fact, digest } });
  expect(message).toContain('names checkpoint another-one, another one');
  writeFileSync(path, whole);
});

test('a file that is a link, and one of a name that leads out, are not followed', async () => {
  const path = memoryFile();
  const aside = `${scene.hub.directory}/aside`;
  renameSync(path, aside);
  symlinkSync(aside, path);
  expect((await refused()).message).toMatch(/file pages-\S+ cannot be read: ELOOP/);
  renameSync(aside, path);
  const manifest = `${directory}/manifest.json`;
  const whole = readFileSync(manifest);
  const name = path.slice(directory.length + 1);
  const leading = Buffer.from(whole.toString().replace(`"${name}"`, `"../${name}"`));
  writeFileSync(manifest, leading);
  const digest = `sha256:${createHash('sha256').update(leading).digest('hex')}`;
  const { message } = await refused({ ...saved, fact: { ...saved.fact, digest } });
  expect(message).toContain('its manifest names a file "../pages-');
  writeFileSync(manifest, whole);
});

test('an image that somebody else could have written is refused', async () => {
  chownSync(directory, 65534, 65534);
  expect((await refused()).message).toContain('no directory of which the agent is the only user');
  chownSync(directory, 0, 0);
  chmodSync(directory, 0o750);
  expect((await refused()).message).toContain('no directory of which the agent is the only user');
  chmodSync(directory, 0o700);
  renameSync(directory, `${directory}.real`);
  symlinkSync(`${directory}.real`, directory);
  expect((await refused()).message).toContain('no directory of which the agent is the only user');
  unlinkSync(directory);
  renameSync(`${directory}.real`, directory);
});

test('an image that is gone is missed by name', async () => {
  const aside = `${scene.hub.directory}/gone`;
  renameSync(directory, aside);
  const { message } = await refused();
  expect(message).toContain(`image ${saved.checkpointUid} of sandbox 0 is not on this node`);
  renameSync(aside, directory);
});

test('a damaged image is replaced by the whole one of another node, and the job goes on exactly', async () => {
  cpSync(directory, imageOn(1, saved.checkpointUid), { recursive: true });
  chmodSync(imageOn(1, saved.checkpointUid), 0o700);
  const path = memoryFile();
  const whole = readFileSync(path);
  writeFileSync(path, Buffer.alloc(whole.length));
  const sources = ['node1', 'node2'].map((node) => ({
    node,
    address: scene.hub.nodes.get(node)?.hello.peerAddress ?? '',
  }));
  job = await job.restore(saved, 'node1', job.spec.tree, sources);
  expect(job.fact()).toMatchObject({ state: 'Running' });
  expect(readFileSync(path).equals(whole)).toBe(true);
  const ended = await scene.hub.ended(job.spec.id);
  expect(ended).toMatchObject({ state: 'Ended', succeeded: '0-2', failures: [] });
  const lines = (await job.output()).trimEnd().split('\n');
  const [, iterations = ''] = /^DONE iterations=(\d+) ranks=3 /.exec(lines.at(-1) ?? '') ?? [];
  expect(lines).toHaveLength(Number(iterations) + 1);
});
