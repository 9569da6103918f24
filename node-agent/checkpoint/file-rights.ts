// Whether a user could open files of this node as an image wants them opened, which CRIU does as root. By owners and modes where these
// say yes; else the user himself tries it, since access lists, or a server of files, may say yes where modes do not. A name that leads
// elsewhere, over a link, is no answer to who may have what is there.
import { execFile } from 'node:child_process';
import type { Stats } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../agent-error.ts';
import { realHostPath, shellAs, statOnHost } from '../host-root.ts';

export interface FileDemand {
  /** On this node. */
  readonly path: string;
  /** As the sandbox sees it, for people. */
  readonly shown: string;
  /** `make`: a name in its directory. */
  readonly use: 'read' | 'write' | 'both' | 'make';
}

export interface FileUser {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

const letters = { read: 'r', write: 'w', both: 'rw', make: 'wx' } as const;
const bitsOf = { r: 4, w: 2, x: 1 } as const;
type Letter = keyof typeof bitsOf;

/** What the user may not have of it, for people; null: all may be opened. What is not there the engine tells. */
export async function refusedFile(
  demands: readonly FileDemand[],
  user: FileUser,
  signal: AbortSignal,
): Promise<string | null> {
  for (const { path, shown, use } of demands) {
    const target = use === 'make' ? dirname(path) : path;
    const real = realOf(target);
    if (real === undefined) continue;
    if (real !== target) return `file ${shown} lies behind a link, to ${real}`;
    const wanted = [...letters[use]] as Letter[];
    if (mayByMode(target, wanted, user)) continue;
    if (!(await mayByTrial(target, wanted, user, signal)))
      return `file ${shown} would be opened for ${words[use]}, which uid ${String(user.uid)} may not`;
  }
  return null;
}

const words = { read: 'reading', write: 'writing', both: 'reading and writing', make: 'a new name' } as const;

function realOf(path: string): string | undefined {
  try {
    return realHostPath(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    return path; // root sees less than the user may: he tries it himself
  }
}

/** Programs that are run need not be readable. */
function mayByMode(path: string, wanted: readonly Letter[], user: FileUser): boolean {
  const stat = statOf(path);
  if (!stat) return false;
  const has = (letter: Letter): boolean => (permissionsOf(stat, user) & bitsOf[letter]) !== 0;
  const isRun = wanted.length === 1 && wanted[0] === 'r' && stat.isFile() && has('x');
  return (isRun || wanted.every(has)) && mayReach(dirname(path), user);
}

function mayReach(directory: string, user: FileUser): boolean {
  const stat = statOf(directory);
  if (!stat || (permissionsOf(stat, user) & bitsOf.x) === 0) return false;
  return directory === '/' || mayReach(dirname(directory), user);
}

function permissionsOf({ mode, uid, gid }: Stats, user: FileUser): number {
  if (uid === user.uid) return mode >> 6;
  if (gid === user.gid || user.groups.includes(gid)) return mode >> 3;
  return mode;
}

function statOf(path: string): Stats | undefined {
  try {
    return statOnHost(path);
  } catch {
    return undefined;
  }
}

function mayByTrial(
  path: string,
  wanted: readonly Letter[],
  user: FileUser,
  signal: AbortSignal,
): Promise<boolean> {
  const script = wanted.map((letter) => `[ -${letter} "$1" ]`).join(' && ');
  const [file, args, options] = shellAs(user, script, [path]);
  return new Promise((resolve, reject) => {
    execFile(file, args, { ...options, signal }, (error) => {
      if (error?.name === 'AbortError') reject(new Error('given up', { cause: error }));
      else resolve(error === null);
    });
  });
}
