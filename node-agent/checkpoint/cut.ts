// What lies outside of a sandbox's processes and belongs to them all the same, taken while they are frozen: output spooled so
// far, input not yet read, files of the host open for writing. Segments of logs are linked into the image at once and copied
// once the ranks run again: what has been written of a log never changes.
import { fstatSync, linkSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { copyFile, constants, open, rename, rm, truncate } from 'node:fs/promises';
import { arch, release } from 'node:os';
import type { Native } from '../../native/addon/index.ts';
import type { SandboxSpec } from '../../wire/agent-types.ts';
import type { AdoptedSandbox } from '../adopted-sandbox.ts';
import { errnoOf } from '../agent-error.ts';
import type { Backend } from '../backend.ts';
import type { Usage } from '../cgroups.ts';
import type { InputSpool } from '../input.ts';
import { scanLogs, streamName } from '../log-stream.ts';
import { parseMountinfo } from '../mounts.ts';
import type { Descriptor } from './descriptors.ts';
import type { OuterFile, OuterMount } from './engine.ts';
import type { OpenFile } from './snapshots.ts';
import {
  manifestVersion,
  type Cut,
  type Image,
  type SavedFile,
  type SavedInput,
  type SavedMount,
  type SavedStream,
} from './image.ts';

export interface OuterFiles {
  readonly keys: readonly OuterFile[];
  readonly readers: readonly { readonly slot: number; readonly position: number }[];
}

/** Descriptions of the spool of standard input that rank-init holds, and where each stands. */
export function outerFilesOf(adopted: AdoptedSandbox, native: Native): OuterFiles {
  const keys = new Map<string, OuterFile>();
  const readers: { slot: number; position: number }[] = [];
  for (const slot of adopted.table.slots()) {
    if (slot.input === null) continue;
    const fd = adopted.duplicate(slot.input);
    try {
      const info = readFileSync(`/proc/self/fdinfo/${String(fd)}`, 'utf8');
      const number = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(info)?.[1] ?? 0);
      const key = `file[${number('mnt_id').toString(16)}:${fstatSync(fd).ino.toString(16)}]`;
      keys.set(key, { key, path: readlinkSync(`/proc/self/fd/${String(fd)}`) });
      readers.push({ slot: slot.index, position: number('pos') });
    } finally {
      native.close(fd);
    }
  }
  return { keys: [...keys.values()], readers };
}

export const logFileName = (rank: number, stream: 1 | 2, segment: number): string =>
  `log.${streamName(rank, stream)}.${String(segment).padStart(20, '0')}`;
export const inputFileName = 'input';
const inputLinkName = '.spool';

/** Links what is spooled into the image. */
export function keepLogs(directory: string, image: Image): SavedStream[] {
  return [...scanLogs(directory).values()].map(({ rank, stream, segments, length }) => {
    for (const segment of segments) {
      const name = logFileName(rank, stream, segment);
      linkSync(`${directory}/${name.slice('log.'.length)}`, image.pathOf(name));
    }
    return { rank, stream, segments, length };
  });
}

/** Keeps what is unread in its file until it is copied. */
export function saveInput(
  input: InputSpool | null,
  { readers }: OuterFiles,
  image: Image,
): SavedInput | null {
  if (input === null) return null;
  const { length, ended } = input;
  const from = Math.min(length, ...readers.map(({ position }) => position));
  if (readers.length > 0) {
    input.keepFrom(from);
    linkSync(input.path, image.pathOf(inputLinkName));
  }
  return { from: readers.length > 0 ? from : length, length, ended, readers };
}

/** Brings the image's copies to what they were at the cut: the ranks may run and write by now. */
export async function settleLogs(image: Image, cut: Cut, signal: AbortSignal): Promise<void> {
  for (const { rank, stream, segments, length } of cut.streams) {
    const last = segments.at(-1);
    if (last === undefined) continue;
    signal.throwIfAborted();
    const path = image.pathOf(logFileName(rank, stream, last));
    const copy = image.pathOf('.copy');
    await copyFile(path, copy, constants.COPYFILE_FICLONE);
    await truncate(copy, length - last);
    await rename(copy, path);
  }
  await settleInput(image, cut);
}

async function settleInput(image: Image, { input }: Cut): Promise<void> {
  if (input === null || input.length <= input.from) return;
  let spool;
  try {
    spool = await open(image.pathOf(inputLinkName), 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return; // done by an earlier agent
    throw error;
  }
  try {
    const bytes = Buffer.alloc(input.length - input.from);
    await spool.read(bytes, 0, bytes.length, input.from);
    const copy = await open(image.pathOf(inputFileName), 'w', 0o600);
    await copy.writeFile(bytes);
    await copy.close();
  } finally {
    await spool.close();
  }
  await rm(image.pathOf(inputLinkName), { force: true });
}

export async function cutOf(options: {
  backend: Backend;
  spec: SandboxSpec;
  record: { checkpointUid: string; name: string; engine: string; frozenNs: number };
  mounts: { root: string; binds: readonly OuterMount[] };
  outer: OuterFiles;
  streams: readonly SavedStream[];
  input: SavedInput | null;
  pids: readonly number[];
  descriptors: readonly Descriptor[];
  openFiles: readonly SavedFile[];
  ranksStartedNs: number;
  usage: Usage;
}): Promise<Cut> {
  const { backend, spec, record, mounts, outer, streams, input } = options;
  return {
    version: manifestVersion,
    checkpointUid: record.checkpointUid,
    checkpoint: record.name,
    node: backend.config.node,
    takenNs: record.frozenNs,
    engine: record.engine,
    kernel: release(),
    architecture: arch(),
    cpuFeatures: cpuFeatures(),
    spec: { ...spec, frontToken: '', checkpoint: null, restore: null },
    root: mounts.root,
    mounts: markUsed(mounts.binds, options, spec),
    outerFiles: outer.keys.map(({ key }) => key),
    streams,
    input,
    openFiles: options.openFiles,
    ranksStartedNs: options.ranksStartedNs,
    cpuUs: options.usage.cpuUs,
    userUs: options.usage.userUs,
    systemUs: options.usage.systemUs,
  };
}

/** Which mounts hold a file that is open, mapped or run, a working directory, or a program of the spec. */
function markUsed(
  mounts: readonly OuterMount[],
  { pids, descriptors }: { readonly pids: readonly number[]; readonly descriptors: readonly Descriptor[] },
  spec: SandboxSpec,
): readonly SavedMount[] {
  const paths = new Set(spec.programs.flatMap(({ argv, workingDir }) => [argv[0] ?? '', workingDir]));
  for (const { target } of descriptors) paths.add(target);
  for (const pid of pids) {
    try {
      const process = `/proc/${String(pid)}`;
      for (const link of ['cwd', 'exe', 'root']) paths.add(readlinkSync(`${process}/${link}`));
      for (const [path] of readFileSync(`${process}/maps`, 'utf8').matchAll(/\/.*$/gm)) paths.add(path);
    } catch {
      continue; // ended meanwhile
    }
  }
  const all = [...paths];
  return mounts.map(({ source, target }) => ({
    source,
    target,
    used: all.some((path) => path === target || path.startsWith(`${target}/`)),
  }));
}

/** Flags of the first processor, as the kernel names them. */
export function cpuFeatures(): string[] {
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
  return flags
    .split(' ')
    .filter((flag) => flag !== '')
    .sort();
}

const writable = 0o3;
const regularFile = 0o100000;
const typeMask = 0o170000;

/** Files outside of the sandbox's private file systems that a process may write. */
export function openFilesOf(descriptors: readonly Descriptor[], initPid: number): OpenFile[] {
  const found = new Map<string, OpenFile>();
  const privateTypes = new Set(['tmpfs', 'proc', 'sysfs', 'devpts', 'mqueue']);
  const mounts = new Map(
    parseMountinfo(readFileSync(`/proc/${String(initPid)}/mountinfo`, 'utf8')).map((mount) => [
      mount.id,
      mount,
    ]),
  );
  for (const { pid, fd, target: path } of descriptors) {
    if (!path.startsWith('/') || path.endsWith(' (deleted)') || found.has(path)) continue;
    try {
      const info = readFileSync(`/proc/${String(pid)}/fdinfo/${fd}`, 'utf8');
      const flags = parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? '0', 8);
      const mount = mounts.get(Number(/^mnt_id:\s*(\d+)/m.exec(info)?.[1] ?? 0));
      if ((flags & writable) === 0 || !mount || privateTypes.has(mount.fsType)) continue;
      const held = `/proc/${String(pid)}/fd/${fd}`;
      const stat = statSync(held);
      if ((stat.mode & typeMask) !== regularFile) continue;
      found.set(path, { file: { path, bytes: stat.size, inode: stat.ino, ...idsOf(pid) }, held });
    } catch {
      continue; // closed, or ended, meanwhile
    }
  }
  return [...found.values()];
}

export function idsOf(pid: number): { uid: number; gid: number; groups: number[] } {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  const fields = (name: string) =>
    (new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '')
      .split(/\s+/)
      .filter((word) => word !== '')
      .map(Number);
  return { uid: fields('Uid')[1] ?? 65534, gid: fields('Gid')[1] ?? 65534, groups: fields('Groups') };
}
