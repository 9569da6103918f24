// Puts what was saved of a Pod's own file systems (carried-trees.ts) into the Pod that a sandbox is brought back in, before its
// processes are: afterwards each directory that was saved holds what it held, no less and no more. Done again it comes to the same.
// What the image of the Pod has to have and has not is named; then nothing is restored.
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { AgentError, messageOf } from '../agent-error.ts';
import type { CarrierRecord } from '../carrier.ts';
import {
  contentsName,
  isSkipped,
  openRoot,
  placesOfCarrier,
  treesName,
  type CarriedPlaces,
  type CarriedTree,
  type SavedDirectory,
  type SavedEntry,
} from './carried-trees.ts';
import { atDirectory, openWithin, statWithin, within } from './descent.ts';
import type { Image } from './image.ts';

const chunkBytes = 1 << 20;

const failure = (why: string, cause?: unknown): AgentError =>
  new AgentError('refused', 'RestoreFailed', 'MUSTER_CARRIED_FILE', why, { cause });

export async function putTrees(carrier: CarrierRecord, image: Image, signal: AbortSignal): Promise<void> {
  if (!existsSync(image.pathOf(treesName))) return;
  const trees = JSON.parse(readFileSync(image.pathOf(treesName), 'utf8')) as CarriedTree[];
  const places = placesOfCarrier(carrier);
  const root = openRoot(carrier);
  const contents = await open(image.pathOf(contentsName), 'r');
  try {
    for (const tree of trees) {
      await atDirectory(root, tree.target, (top) => putTree(top, tree, { contents, places, signal })).catch(
        (error: unknown) => {
          if (error instanceof AgentError || signal.aborted) throw error;
          throw failure(
            `files of ${tree.target} cannot be put into the carrier Pod: ${messageOf(error)}`,
            error,
          );
        },
      );
    }
  } finally {
    closeSync(root);
    await contents.close();
  }
}

interface Sources {
  readonly contents: FileHandle;
  readonly places: CarriedPlaces;
  readonly signal: AbortSignal;
}

async function putTree(top: number, tree: CarriedTree, sources: Sources): Promise<void> {
  const prefix = tree.target === '/' ? '' : tree.target;
  for (const { path } of tree.directories) if (path !== '') await putDirectory(top, path);
  for (const directory of tree.directories) await clear(top, directory, prefix, sources.places);
  for (const entry of tree.entries) {
    sources.signal.throwIfAborted();
    await putEntry(top, entry, sources);
  }
  // Children first: what is put into a directory changes its time.
  for (const directory of tree.directories.toReversed()) await finish(top, directory, prefix);
}

const split = (path: string): readonly [parent: string, name: string] => [
  path.slice(0, path.lastIndexOf('/')),
  path.slice(path.lastIndexOf('/') + 1),
];

async function putDirectory(top: number, path: string): Promise<void> {
  const [parent, name] = split(path);
  await atDirectory(top, parent, (directory) => {
    const now = statWithin(directory, name);
    if (now?.isDirectory()) return;
    if (now) unlinkSync(within(directory, name));
    mkdirSync(within(directory, name), { mode: 0o700 });
  });
}

/** Takes away what was not there when the sandbox was saved. */
async function clear(
  top: number,
  { path, names }: SavedDirectory,
  prefix: string,
  places: CarriedPlaces,
): Promise<void> {
  const known = new Set(names);
  await atDirectory(top, path, (directory) => {
    for (const name of readdirSync(within(directory, '.'))) {
      const place = `${prefix}${path}/${name}`;
      if (!known.has(name) && !isSkipped(place, places) && !holdsMount(place, places))
        remove(directory, name);
    }
  });
}

const holdsMount = (place: string, { mountPoints }: CarriedPlaces): boolean =>
  [...mountPoints].some((point) => point.startsWith(`${place}/`));

function remove(directory: number, name: string): void {
  if (statWithin(directory, name)?.isDirectory() !== true) {
    unlinkSync(within(directory, name));
    return;
  }
  const own = openWithin(directory, name);
  try {
    for (const each of readdirSync(within(own, '.'))) remove(own, each);
  } finally {
    closeSync(own);
  }
  rmdirSync(within(directory, name));
}

async function putEntry(top: number, entry: SavedEntry, { contents, signal }: Sources): Promise<void> {
  const [parent, name] = split(entry.path);
  await atDirectory(top, parent, async (directory) => {
    const path = within(directory, name);
    if (statWithin(directory, name)) remove(directory, name);
    if (entry.to !== undefined) {
      symlinkSync(entry.to, path);
      lchownSync(path, entry.uid, entry.gid);
      lutimesSync(path, entry.mtimeMs / 1000, entry.mtimeMs / 1000);
      return;
    }
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      await copy(contents, file, entry, signal);
      await file.chown(entry.uid, entry.gid);
      await file.chmod(entry.mode);
      await file.utimes(entry.mtimeMs / 1000, entry.mtimeMs / 1000);
    } finally {
      await file.close();
    }
  });
}

async function copy(
  from: FileHandle,
  to: FileHandle,
  { path, at = 0, bytes = 0 }: SavedEntry,
  signal: AbortSignal,
): Promise<void> {
  const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(1, bytes)));
  for (let done = 0; done < bytes;) {
    signal.throwIfAborted();
    const { bytesRead } = await from.read(chunk, 0, Math.min(chunk.length, bytes - done), at + done);
    if (bytesRead === 0) throw failure(`the image has no whole copy of ${path}`);
    await to.write(chunk, 0, bytesRead, done);
    done += bytesRead;
  }
}

async function finish(top: number, directory: SavedDirectory, prefix: string): Promise<void> {
  const { path, names, mode, uid, gid, mtimeMs } = directory;
  await atDirectory(top, path, (fd) => {
    const there = new Set(readdirSync(within(fd, '.')));
    const missing = names.filter((name) => !there.has(name));
    if (missing.length > 0)
      throw failure(
        `the carrier Pod has no ${prefix}${path}/${missing[0]}, which was there when the sandbox was saved: its image is another one by now`,
      );
    const own = openSync(within(fd, '.'), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fchownSync(own, uid, gid);
      fchmodSync(own, mode);
      futimesSync(own, mtimeMs / 1000, mtimeMs / 1000);
    } finally {
      closeSync(own);
    }
  });
}
