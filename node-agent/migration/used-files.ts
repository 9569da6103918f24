// Files of the node that ranks have open, mapped or run, which CRIU opens again by their names where they go to: those that the node
// there lacks, or has another one of, either go along or stand in the way. What lies on a file system of the network is the same there,
// whatever a cache says of it; else a file is by its length, and, where ranks write it, by when it was written last. What it says of files
// is true only while nothing moves.
import { readFileSync, readdirSync, readlinkSync, statfsSync, statSync, type Stats } from 'node:fs';
import { idsOf } from '../checkpoint/cut.ts';
import type { OuterMount } from '../checkpoint/engine.ts';
import { nameOf } from '../checkpoint/preflight.ts';
import { hostPathOf } from '../checkpoint/rollback.ts';
import { hostPath, statOnHost } from '../host-root.ts';
import { isPrivatePath, parseMountinfo } from '../mounts.ts';
import { bootId } from '../process-table.ts';

export interface UsedFile {
  /** As the sandbox sees it. */
  readonly path: string;
  readonly bytes: number;
  readonly mtimeMs: number;
  /** Which file of which machine it is. */
  readonly self: string;
  readonly mode: number;
  readonly isWritten: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** A process that uses it, for people. */
  readonly by: string;
}

/** A file, and a name by which its very self is opened. */
export interface HeldFile {
  readonly file: UsedFile;
  readonly held: string;
}

/** A file that is not there, or is another one. */
export interface LackedFile {
  readonly file: UsedFile;
  /** Where it is to be on this node. */
  readonly path: string;
  readonly isThere: boolean;
}

const writable = 0o3;

export function usedFilesOf(
  pids: readonly number[],
  initPid: number,
  binds: readonly OuterMount[],
): HeldFile[] {
  const isHosts = hostsPaths(initPid, binds);
  const found = new Map<string, HeldFile>();
  for (const pid of pids) {
    if (pid === initPid) continue;
    for (const { path, held, isWritten } of heldBy(pid)) {
      const known = found.get(path);
      if (!isHosts(path) || (known && (known.file.isWritten || !isWritten))) continue;
      const stat = statOf(held);
      if (!stat?.isFile()) continue;
      const { size: bytes, mtimeMs, mode } = stat;
      const file = { path, bytes, mtimeMs: Math.floor(mtimeMs), self: selfOf(stat), mode: mode & 0o777 };
      found.set(path, { held, file: { ...file, isWritten, ...idsOf(pid), by: nameOf(pid) } });
    }
  }
  return [...found.values()];
}

/** Whether a path of the sandbox is one of the host's, and none that is made for the sandbox alone. */
function hostsPaths(initPid: number, binds: readonly OuterMount[]): (path: string) => boolean {
  const outer = new Set(['/', ...binds.map(({ target }) => target)]);
  const mounts = parseMountinfo(readFileSync(`/proc/${String(initPid)}/mountinfo`, 'utf8'));
  const points = mounts.map(({ mountPoint }) => mountPoint).sort((a, b) => b.length - a.length);
  return (path) => {
    const point =
      points.find((each) => path === each || path.startsWith(each === '/' ? '/' : `${each}/`)) ?? '/';
    return outer.has(point) && (point !== '/' || !isPrivatePath(path));
  };
}

interface Held {
  readonly path: string;
  readonly held: string;
  readonly isWritten: boolean;
}

function* heldBy(pid: number): Generator<Held> {
  const process = `/proc/${String(pid)}`;
  try {
    yield* named(readlinkSync(`${process}/exe`), `${process}/exe`, false);
    for (const fd of readdirSync(`${process}/fd`)) {
      const held = `${process}/fd/${fd}`;
      const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`${process}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
      yield* named(readlinkSync(held), held, (parseInt(flags, 8) & writable) !== 0);
    }
    for (const line of readFileSync(`${process}/maps`, 'utf8').split('\n')) {
      const [, range = '', access = '', path = ''] = /^(\S+) (\S+) \S+ \S+ \S+ +(\/.*)$/.exec(line) ?? [];
      const isShared = access.endsWith('s') && access.includes('w');
      yield* named(path, `${process}/map_files/${range.replace(/\b0+(?=[0-9a-f])/g, '')}`, isShared);
    }
  } catch {
    return; // ended meanwhile
  }
}

function* named(path: string, held: string, isWritten: boolean): Generator<Held> {
  if (path.startsWith('/') && !path.endsWith(' (deleted)')) yield { path, held, isWritten };
}

/** What of them this node lacks. */
export function lackedFiles(
  files: readonly UsedFile[],
  root: string,
  mounts: readonly OuterMount[],
): LackedFile[] {
  return files.flatMap((file) => {
    const path = hostPathOf(file.path, root, mounts);
    const stat = statOnHost(path);
    if (stat?.isFile() && (file.self === selfOf(stat) || isOfNetwork(path) || isSame(file, stat))) return [];
    return [{ file, path, isThere: stat !== undefined }];
  });
}

const selfOf = ({ dev, ino }: Stats): string => `${bootId()} ${String(dev)} ${String(ino)}`;

/** statfs(2): NFS, CIFS, SMB, Lustre, Ceph, GPFS, 9P, FUSE and virtiofs, AFS, OCFS2, GFS2, BeeGFS, PanFS. */
const networkTypes = new Set([
  0x6969, 0xff534d42, 0xfe534d42, 0x0bd00bd0, 0x00c36400, 0x47504653, 0x01021997, 0x65735546, 0x5346414f,
  0x7461636f, 0x01161970, 0x19830326, 0xaad7aaea,
]);
const isOfNetwork = (path: string): boolean => networkTypes.has(statfsSync(hostPath(path)).type);

const isSame = ({ bytes, mtimeMs, isWritten }: UsedFile, stat: Stats): boolean =>
  stat.size === bytes && (!isWritten || Math.floor(stat.mtimeMs) === mtimeMs);

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
