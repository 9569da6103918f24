// Files of the node, for an agent that may be in a container: what lies on the node's own root is reached through the machine's first
// process, where links lead as they lead there, a user of the node does something in the node's own mounts, and processes are moved
// between its control groups. An agent that is in no container, or may not look there, has them where they are. It knows nothing of what
// is looked for.
import {
  accessSync,
  existsSync,
  lstatSync,
  readlinkSync,
  realpathSync,
  statSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Native } from '../native/addon/index.ts';

const rootOfFirst = '/proc/1/root';

/** One that may not look there is taken to be in none. */
export function hostRoot(): string {
  try {
    accessSync(`${rootOfFirst}/`);
    return rootOfFirst;
  } catch {
    return '';
  }
}

/** Whether a file is the same one, at the same path, for what runs in the node's own mounts. */
export function isOnNode(path: string): boolean {
  const real = realpathSync(path);
  const [here, there] = [
    statSync(real, { bigint: true }),
    statSync(`${hostRoot()}${real}`, { bigint: true, throwIfNoEntry: false }),
  ];
  return here.dev === there?.dev && here.ino === there.ino;
}

/** '' outside of a container. */
const otherRoot = (): string => (isOnNode('/') ? '' : rootOfFirst);

/** By which the agent reaches a file of the node, which may be a link itself. */
export function hostPath(path: string): string {
  const root = otherRoot();
  return root === '' ? path : `${root}${join(realWithin(root, dirname(path)), basename(path))}`;
}

/** Of the name itself, be it a link; undefined: it is not there. */
export function statOnHost(path: string): Stats | undefined {
  try {
    return lstatSync(hostPath(path));
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** Where links lead, on the node. Throws ENOENT. */
export function realHostPath(path: string): string {
  const root = otherRoot();
  return root === '' ? realpathSync.native(path) : realWithin(root, path);
}

const mostLinks = 40;

/** As in a root of its own: a link never leads out of it. */
export function realWithin(root: string, path: string): string {
  const ahead = path.split('/').reverse();
  let real = '';
  for (let links = 0; ahead.length > 0;) {
    const name = ahead.pop() ?? '';
    if (name === '' || name === '.') continue;
    if (name === '..') {
      real = real.slice(0, real.lastIndexOf('/'));
      continue;
    }
    const to = linkOf(`${root}${real}/${name}`);
    if (to === undefined) {
      real = `${real}/${name}`;
      continue;
    }
    if (++links > mostLinks) throw Object.assign(new Error(`ELOOP: ${path}`), { code: 'ELOOP' });
    if (to.startsWith('/')) real = '';
    ahead.push(...to.split('/').reverse());
  }
  return real === '' ? '/' : real;
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return undefined; // no link
    throw error;
  }
}

/**
 * Moves a process into a control group of the node. An agent in a container may not, where groups are mounted with nsdelegate, by its own
 * namespace of them: it is told then that there are none outside.
 */
export function moveIntoCgroup(
  native: Pick<Native, 'cgroupEnter'>,
  directory: string,
  pid: number | string,
): void {
  const file = `${directory}/cgroup.procs`;
  try {
    writeFileSync(file, String(pid));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || !existsSync(file)) throw error;
    native.cgroupEnter(file, Number(pid));
  }
}

export interface HostUser {
  readonly uid: number;
  readonly gid: number;
}

interface ShellOptions {
  cwd: string;
  env: NodeJS.ProcessEnv;
  uid?: number;
  gid?: number;
}

/** A shell of the node with a user's rights and nothing else, as `spawn` takes it. */
export function shellAs(
  { uid, gid }: HostUser,
  script: string,
  args: readonly string[],
): [file: string, args: string[], options: ShellOptions] {
  const shell = ['/bin/sh', '-ec', script, 'sh', ...args];
  if (otherRoot() === '') return [shell[0]!, shell.slice(1), { cwd: '/', env: {}, uid, gid }];
  const user = ['--setgid', String(gid), '--setuid', String(uid)];
  return ['/usr/bin/nsenter', ['--mount=/proc/1/ns/mnt', ...user, '--', ...shell], { cwd: '/', env: {} }];
}
