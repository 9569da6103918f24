// What a sandbox wrote in one Pod's root is there in another's. Each stands for a carrier Pod: a process in an overlay of its own.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CarrierRecord } from '../carrier.ts';
import { startTimeOf } from '../process-table.ts';
import { until } from '../until.ts';
import { putTrees } from './carried-restore.ts';
import { mayWrite, rollBackCarried } from './carried-rollback.ts';
import { bytesOfTrees, carriedPlacesOf, saveTrees } from './carried-trees.ts';
import { Image, type Manifest, type SavedFile } from './image.ts';

const waiter = join(import.meta.dirname, '../../build/native/carrier-wait');
const isRoot = process.getuid?.() === 0;
const signal = new AbortController().signal;
const script =
  'mount -t overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" overlay "$4" && mount -t tmpfs none "$4/scratch" && mount --bind "$5" "$4/claim" && exec chroot "$4" /wait';

let top: string;
let number = 0;
const running: ChildProcess[] = [];

interface Pod {
  readonly carrier: CarrierRecord;
  /** As the node sees it. */
  readonly root: string;
}

function imageRoot(): string {
  const root = join(top, `image${String(++number)}`);
  for (const name of ['scratch', 'claim', 'etc', 'data/old', 'data/kept'])
    mkdirSync(join(root, name), { recursive: true });
  for (const name of ['etc/image', 'data/old/a', 'data/old/b', 'data/kept/a', 'data/gone', 'data/file'])
    writeFileSync(join(root, name), `image ${name}\n`);
  copyFileSync(waiter, join(root, 'wait'));
  return root;
}

async function pod(image: string, claim = join(top, 'claim')): Promise<Pod> {
  const own = join(top, `pod${String(++number)}`);
  const [upper, work, merged] = ['upper', 'work', 'merged'].map((name) => join(own, name)) as [
    string,
    string,
    string,
  ];
  for (const directory of [upper, work, merged, claim]) mkdirSync(directory, { recursive: true });
  const child = spawn(
    'unshare',
    ['--mount', '--propagation', 'private', '/bin/sh', '-c', script, 'sh', image, upper, work, merged, claim],
    { stdio: 'inherit' },
  );
  running.push(child);
  const pid = child.pid!;
  const isWaiting = (): boolean => readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8') === '/wait\0';
  await until(isWaiting, 10_000, 'the Pod to wait');
  return { carrier: { pid, startTime: startTimeOf(pid)!, cgroups: {} }, root: `/proc/${String(pid)}/root` };
}

/** All that there is to see of a tree. */
function sightOf(root: string, path = ''): string[] {
  return readdirSync(`${root}${path}`)
    .sort()
    .flatMap((name) => {
      const own = `${path}/${name}`;
      if (own === '/claim') return [];
      const stat = lstatSync(`${root}${own}`);
      const what = stat.isSymbolicLink()
        ? `-> ${readlinkSync(`${root}${own}`)}`
        : stat.isFile()
          ? readFileSync(`${root}${own}`, 'latin1').slice(0, 100)
          : '/';
      const time = own.startsWith('/data/new') ? String(Math.round(stat.mtimeMs / 1000)) : '';
      const line = `${own} ${stat.mode.toString(8)} ${String(stat.uid)}:${String(stat.gid)} ${time} ${what}`;
      return [line, ...(stat.isDirectory() ? sightOf(root, own) : [])];
    });
}

async function saved({ carrier }: Pod): Promise<Image> {
  const image = new Image(join(top, `saved${String(++number)}`), { checkpointUid: 'c', ordinal: 0 });
  image.create();
  await saveTrees(carrier, { scratch: ['/scratch'], hostRoot: '' }, image, signal);
  return image;
}

describe.skipIf(!isRoot)(`file systems of a carrier Pod${isRoot ? '' : ': they are root’s to mount'}`, () => {
  let base: string;
  let before: Pod;
  let image: Image;
  beforeAll(async () => {
    top = mkdtempSync('/var/tmp/muster-carried-');
    base = imageRoot();
    before = await pod(base);
    const at = (path: string): string => `${before.root}/${path}`;
    unlinkSync(at('data/gone'));
    rmSync(at('data/old'), { recursive: true });
    mkdirSync(at('data/old'));
    writeFileSync(at('data/old/c'), 'in a directory that is another one now\n');
    mkdirSync(at('data/new/deep'), { recursive: true });
    writeFileSync(at('data/new/deep/big'), Buffer.alloc((3 << 20) + 17, 'x'));
    writeFileSync(at('data/new/empty'), '');
    chmodSync(at('data/new/deep'), 0o2750);
    chownSync(at('data/new/deep/big'), 65534, 1000);
    appendFileSync(at('data/file'), 'and more\n');
    unlinkSync(at('data/kept/a'));
    symlinkSync('/etc/image', at('data/kept/a'));
    writeFileSync(at('scratch/note'), 'in a volume that goes with the Pod\n');
    writeFileSync(at('claim/shared'), 'in one that does not\n');
  });
  afterAll(async () => {
    for (const child of running) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(top, { recursive: true, force: true });
  });

  it('are in another Pod what they were, whatever was begun there before', async () => {
    image = await saved(before);
    const after = await pod(base, join(top, 'claim2'));
    writeFileSync(`${after.root}/data/old/left`, 'of a restore that was cut off\n');
    mkdirSync(`${after.root}/scratch/left/deep`, { recursive: true });
    await putTrees(after.carrier, image, signal);
    expect(sightOf(after.root)).toEqual(sightOf(before.root));
    await putTrees(after.carrier, image, signal);
    expect(sightOf(after.root)).toEqual(sightOf(before.root));
    expect(existsSync(`${after.root}/claim/shared`)).toBe(false);
  });

  it('are about as large as what is saved of them', async () => {
    const bytes = await bytesOfTrees(before.carrier, { scratch: ['/scratch'], hostRoot: '' });
    expect(bytes - statSync(image.pathOf('carried.data')).size).toBe(0);
    expect(bytes).toBeGreaterThan(3 << 20);
  });

  it('are saved without what the image has, and without sockets', async () => {
    const server = createServer().listen(`${before.root}/data/socket`);
    await once(server, 'listening');
    const again = await saved(before);
    server.close();
    const text = readFileSync(again.pathOf('carried.json'), 'utf8');
    expect(text).not.toContain('socket');
    expect(text).not.toContain('"path":"/etc/image"');
    expect(text).not.toContain('shared');
  });

  it('are not put into another image, of which it is said what it lacks', async () => {
    const other = imageRoot();
    unlinkSync(join(other, 'data/kept/a'));
    rmSync(join(other, 'etc'), { recursive: true });
    const after = await pod(other);
    await expect(putTrees(after.carrier, image, signal)).rejects.toThrow(/has no \/etc, which was there/);
  });

  it('lead nowhere else by a link that stands where a directory was', async () => {
    const outside = join(top, 'outside');
    mkdirSync(join(outside, 'deep'), { recursive: true });
    writeFileSync(join(outside, 'mine'), 'the node’s');
    const after = await pod(base);
    rmSync(`${after.root}/data`, { recursive: true });
    symlinkSync(outside, `${after.root}/data`);
    await putTrees(after.carrier, image, signal);
    expect(sightOf(after.root)).toEqual(sightOf(before.root));
    expect(sightOf(outside).map((line) => line.split(' ')[0])).toEqual(['/deep', '/mine']);
  });

  it('cannot have named pipes', async () => {
    execFileSync('mkfifo', [`${before.root}/data/pipe`]);
    await expect(saved(before)).rejects.toThrow(/: \/data\/pipe is a device or a named pipe/);
    unlinkSync(`${before.root}/data/pipe`);
  });

  const fileOf = (path: string, more: Partial<SavedFile> = {}): SavedFile => ({
    path, bytes: 4, inode: 0, uid: 65534, gid: 65534, groups: [], ...more,
  }); // prettier-ignore
  const manifest = { checkpointUid: 'c', files: [] } as unknown as Manifest;
  const back = (file: SavedFile, policy = 'Truncate'): Promise<void> =>
    rollBackCarried(file, { carrier: before.carrier, image, policy, manifest }, signal);

  it('have files on shared volumes cut to what they were, what was more being kept', async () => {
    const directory = `${before.root}/claim/out`;
    mkdirSync(directory);
    chownSync(directory, 65534, 65534);
    writeFileSync(`${directory}/log`, 'thenlater');
    chownSync(`${directory}/log`, 65534, 65534);
    await expect(back(fileOf('/claim/out/log'), 'Refuse')).rejects.toThrow(/openFiles is Refuse/);
    await back(fileOf('/claim/out/log'));
    await back(fileOf('/claim/out/log'));
    expect(readFileSync(`${directory}/log`, 'utf8')).toBe('then');
    expect(readFileSync(`${directory}/log.after-c`, 'utf8')).toBe('later');
  });

  it('have nothing cut by a link, or that the rank could not write', async () => {
    const mine = join(top, 'mine');
    writeFileSync(mine, 'untouched');
    symlinkSync(mine, `${before.root}/claim/out/link`);
    await back(fileOf('/claim/out/link')); // no plain file: the engine tells
    writeFileSync(`${before.root}/claim/roots`, 'not for ranks');
    await expect(back(fileOf('/claim/roots'))).rejects.toThrow(/user 65534, whose it is, may not write it/);
    expect(readFileSync(mine, 'utf8')).toBe('untouched');
  });
});

describe('what of a root can be told from its image', () => {
  const line = (options: string, type: string, more: string): string =>
    `1 0 0:1 / / ${options} master:3 - ${type} none ${more}\n2 1 0:2 / /proc rw - proc proc rw\n`;
  it.each<[string, string | null, boolean]>([
    [line('rw,relatime', 'overlay', 'rw,lowerdir=/a:/b,upperdir=/c\\040d/fs,workdir=/w'), '/c d/fs', false],
    [line('ro,relatime', 'overlay', 'ro,lowerdir=/a:/b'), null, false],
    [line('rw', 'ext4', 'rw'), null, true],
  ])('%s', (mountinfo, upper, isTrouble) => {
    const places = carriedPlacesOf(mountinfo);
    expect([places.upper, places.trouble !== undefined]).toEqual([upper, isTrouble]);
    expect([...places.mountPoints]).toEqual(['/', '/proc']);
  });
});

it.each<[number, number, number, boolean]>([
  [0o200, 7, 0, true],
  [0o022, 7, 7, false],
  [0o020, 0, 8, true],
  [0o020, 0, 9, true],
  [0o200, 0, 9, false],
  [0o002, 0, 0, true],
])('a file of mode %o of %i:%i may be written: %s', (mode, uid, gid, expected) => {
  expect(mayWrite({ mode, uid, gid }, { uid: 7, gid: 8, groups: [9] })).toBe(expected);
});
