// Images that are not what was saved: changed, of another job, with links in them, somebody else's, forged by a node that somebody has
// taken over, gone. Each is refused with the reason, nothing of it runs, and what is whole again is restored exactly; where another node
// has a whole one, that is used.
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
import { addField, changed, setField, type Change } from './forging.ts';
import { isolated, Scene, type Job, type Saved } from './scene.ts';

let scene: Scene;
let job: Job;
let saved: Saved;
let directory: string;

beforeAll(async () => {
  scene = await Scene.start(2);
  const argv = [`${programs}/ring`, '--bytes', '65536', '--report-every', '1', '--seconds', '3600'];
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

async function refused(from: Saved = saved, reason = 'ImageDamaged'): Promise<SandboxFact> {
  job = await job.restore(from);
  const fact = job.fact() as SandboxFact;
  expect(fact).toMatchObject({ state: 'Failed', reason, ranksRunning: 0 });
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

interface Manifest {
  spec: { uid: number };
  openFiles: object[];
  files: { name: string; bytes: number; sha256: string }[];
}

const sha256Of = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** The image as whoever owns its node could have made it, digests and all; gives what is said of it. */
async function forged(
  name: string,
  change: (bytes: Buffer) => Buffer,
  changeManifest: (manifest: Manifest) => void = () => undefined,
): Promise<string> {
  const paths = [`${directory}/${name}`, `${directory}/manifest.json`] as const;
  const whole = paths.map((path) => readFileSync(path));
  const bytes = change(whole[0]!);
  const manifest = JSON.parse(whole[1]!.toString()) as Manifest;
  const file = manifest.files.find((each) => each.name === name)!;
  Object.assign(file, { bytes: bytes.length, sha256: sha256Of(bytes) });
  changeManifest(manifest);
  const text = Buffer.from(JSON.stringify(manifest));
  writeFileSync(paths[0], bytes);
  writeFileSync(paths[1], text);
  const { message } = await refused(
    { ...saved, fact: { ...saved.fact, digest: `sha256:${sha256Of(text)}` } },
    'NotAllowed',
  );
  paths.forEach((path, at) => {
    writeFileSync(path, whole[at]!);
  });
  return message;
}

const creds = [5, 10];
const regular = [3];
const forgeries: [what: string, file: RegExp, change: Change, said: RegExp][] = [
  ['a rank that is root', /^core-2/, setField(creds, 1, 0), /process 2 \(ring\) would have uid 0, the group runs as 65534/],
  ['a saved uid to come back to', /^core-2/, setField(creds, 5, 0), /process 2 \(ring\) would have saved uid 0/],
  ['a group that is not the job\'s', /^core-3/, addField(creds, 14, 42), /process 3 \(ring\) would be in group 42/],
  ['capabilities', /^core-2/, setField(creds, 11, 0x200000), /process 2 \(ring\) would have capabilities/],
  ['a bounding set for pid 1', /^core-1/, setField(creds, 12, 1), /process 1 \(rank-init\) would have capabilities/],
  ['privileges to be gained', /^core-2/, setField(creds, 18, 0), /could gain privileges \(no_new_privs\)/],
  ['a uid said twice', /^core-2/, addField(creds, 1, 0), /core-2\.img is not as CRIU writes it/],
  ['another user namespace', /^ids-2/, setField([], 10, 99), /another namespace of users/],
  ['a device in its own /dev', /^tmpfs-dev/, 'block device', /\/dev\/urandom would be a device \(block 1:9\)/],
  ['the disk as a file system', /^mountpoints/, setField([], 1, 16), /would be a file system of kind 16/],
  ['the file of passwords', /^files/, setField(regular, 6, '/etc/shadow'), /file \/etc\/shadow would be opened for reading, which uid 65534 may not/],
  ['a socket of packets', /^files/, setField([], 1, 10), /a file of kind 10, which takes privileges/],
]; // prettier-ignore

test.each(forgeries)('a forged image is refused by name: %s', async (_what, file, change, said) => {
  const names = readdirSync(directory).filter((name) => file.test(name));
  const name = names.find(
    (each) => change !== 'block device' || readFileSync(`${directory}/${each}`).includes('./urandom'),
  )!;
  expect(await forged(name, (bytes) => changed(bytes, change))).toMatch(said);
});

test('a manifest that says another user is refused, before a file is touched', async () => {
  const same = (bytes: Buffer): Buffer => bytes;
  const root = await forged('pstree.img', same, (manifest) => (manifest.spec.uid = 0));
  expect(root).toContain('its ranks ran as 0:65534, the group runs as 65534:65534');
  const path = `${scene.hub.directory}/roots-own`;
  writeFileSync(path, 'longer than it was');
  const file = { path, bytes: 3, inode: 1, uid: 0, gid: 0, groups: [] };
  const written = await forged('pstree.img', same, ({ openFiles }) => openFiles.push(file));
  expect(written).toContain(`file ${path} would be written as 0:0, the group runs as 65534:65534`);
  expect(readFileSync(path, 'utf8')).toBe('longer than it was');
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
  expect(await job.finish()).toMatchObject({ state: 'Ended', succeeded: '0-2', failures: [] });
  const lines = (await job.output()).trimEnd().split('\n');
  const [, iterations = ''] = /^DONE iterations=(\d+) ranks=3 /.exec(lines.at(-1) ?? '') ?? [];
  expect(lines).toHaveLength(Number(iterations) + 1);
});
