// What ranks save themselves, on the node's disk: a directory of the sandbox's that they see at one place. In it `save` is theirs to
// write; a file `wanted` there holds the number of the checkpoint that is asked for, and `done.RANK` the same number once that
// rank has saved itself, with an errno behind it when it could not. `restart` is what was saved, for ranks that are started from
// it. What is in `save` is taken while nothing runs, and removed only with the rights of the ranks: a link put there leads nowhere.
import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { AgentError, errnoOf } from '../agent-error.ts';
import type { Image } from './image.ts';

const run = promisify(execFile);

/** Where ranks see it. */
export const savesTarget = '/run/muster/checkpoint';
export const checkpointDirectory = `${savesTarget}/save`;
export const restartDirectory = `${savesTarget}/restart`;

/** What of the image says where its files belong. */
export const savesIndexName = 'saves.json';
const wantedName = 'wanted';
const donePattern = /^done\.\d+$/;
const mostAnswerBytes = 64;

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

interface SavedEntry {
  /** Within the directory. */
  readonly path: string;
  readonly mode: number;
  /** The file of the image; absent: a directory. */
  readonly file?: string;
}

/** Of the sandbox that keeps its files in `directory`. */
export const savesOf = (directory: string): string => `${directory}/saves`;

/** Done again, it changes nothing. */
export function makeSaves(saves: string, owner: Owner): void {
  makeDirectory(saves, 0o755);
  makeDirectory(`${saves}/save`, 0o700, owner);
}

function makeDirectory(path: string, mode: number, owner?: Owner): void {
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
  if (owner && process.geteuid?.() === 0) chownSync(path, owner.uid, owner.gid);
}

/** Asks for checkpoint `number`: from an empty directory. */
export async function wishSave(
  saves: string,
  number: number,
  owner: Owner,
  signal: AbortSignal,
): Promise<void> {
  const { uid, gid } = owner;
  const left = { cwd: `${saves}/save`, env: {}, uid, gid, signal };
  await run('/usr/bin/find', ['.', '-mindepth', '1', '-delete'], left);
  const aside = `${saves}/.${wantedName}`;
  rmSync(aside, { force: true });
  writeFileSync(aside, `${String(number)}\n`, { mode: 0o644, flag: 'wx' });
  chmodSync(aside, 0o644);
  renameSync(aside, `${saves}/save/${wantedName}`);
}

/** Whoever has said that it is done goes on. Done again, it does nothing. */
export function withdrawSave(saves: string): void {
  for (const name of [wantedName, ...namesIn(`${saves}/save`).filter((each) => donePattern.test(each))])
    rmSync(`${saves}/save/${name}`, { force: true });
}

/** What a rank has said of checkpoint `number`: 0 it is saved, an errno it could not be; null: nothing yet. */
export function saidOf(saves: string, number: number, rank: number): number | null {
  let fd: number;
  try {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
    fd = openSync(`${saves}/save/done.${String(rank)}`, flags);
  } catch {
    return null;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > mostAnswerBytes) return null;
    const [, of, error = '0'] = /^(\d+)(?: (\d+))?\n$/.exec(readFileSync(fd, 'latin1')) ?? [];
    return Number(of) === number ? Number(error) : null;
  } finally {
    closeSync(fd);
  }
}

/** About as much as an image of it takes. */
export function bytesSaved(saves: string, below = ''): number {
  let sum = 0;
  for (const name of namesIn(`${saves}/save/${below}`)) {
    const path = `${below}${name}`;
    const stat = lstatSync(`${saves}/save/${path}`, { throwIfNoEntry: false });
    sum += stat?.isDirectory() ? bytesSaved(saves, `${path}/`) : (stat?.size ?? 0);
  }
  return sum;
}

/** Moves what was saved into the image, which names it in its index. Nothing of the sandbox may run. */
export function takeSaves(saves: string, image: Pick<Image, 'pathOf'>): void {
  const entries: SavedEntry[] = [];
  const take = (below: string): void => {
    for (const name of namesIn(`${saves}/save/${below}`).sort()) {
      if (below === '' && (name === wantedName || donePattern.test(name))) continue;
      const path = `${below}${name}`;
      const stat = lstatSync(`${saves}/save/${path}`);
      const mode = stat.mode & 0o777;
      if (stat.isDirectory()) {
        entries.push({ path, mode });
        take(`${path}/`);
      } else if (stat.isFile()) {
        const file = `save.${String(entries.length)}`;
        entries.push({ path, mode, file });
        move(`${saves}/save/${path}`, image.pathOf(file));
      } else {
        throw new AgentError(
          'refused',
          'PreflightFailed',
          'MUSTER_SAVED_FILE',
          `the ranks have put ${path} into their checkpoint, which is neither a file nor a directory: write the content itself`,
        );
      }
    }
  };
  take('');
  writeFileSync(image.pathOf(savesIndexName), JSON.stringify(entries), { mode: 0o600 });
}

function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (errnoOf(error) !== 'EXDEV') throw error;
    copyFileSync(from, to, constants.COPYFILE_FICLONE);
    rmSync(from);
  }
}

/** Puts what an image has where ranks that are started from it find it. They must not run yet. Done again, it comes to the same. */
export function putSaves(image: Pick<Image, 'pathOf'>, saves: string, owner: Owner): void {
  const target = `${saves}/restart`;
  rmSync(saves, { recursive: true, force: true });
  makeSaves(saves, owner);
  makeDirectory(target, 0o700, owner);
  for (const { path, mode, file } of indexOf(image)) {
    const to = `${target}/${path}`;
    if (file === undefined) mkdirSync(to);
    else copyFileSync(image.pathOf(file), to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    chmodSync(to, mode);
    if (process.geteuid?.() === 0) chownSync(to, owner.uid, owner.gid);
  }
}

function indexOf(image: Pick<Image, 'pathOf'>): SavedEntry[] {
  const path = image.pathOf(savesIndexName);
  const entries = JSON.parse(readFileSync(path, 'utf8')) as SavedEntry[];
  for (const entry of entries)
    if (entry.path.split('/').some((part) => part === '' || part === '.' || part === '..'))
      throw new AgentError(
        'failed',
        'ImageDamaged',
        'MUSTER_IMAGE_DAMAGED',
        `${path} names ${JSON.stringify(entry.path)}, which leads out of it`,
      );
  return entries;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
