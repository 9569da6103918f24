// File systems that go with a carrier Pod: its root, as far as it is not what the image had, and its volumes that nobody else has.
// What a sandbox wrote there is listed and copied into its image while nothing moves, and put into the Pod that it is brought back in
// (carried-restore.ts). Of an overlay only what its upper layer has is looked at: the rest is the image's, and is there again.
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { setImmediate as immediately } from 'node:timers/promises';
import { AgentError, messageOf } from '../agent-error.ts';
import type { CarrierRecord } from '../carrier.ts';
import { parseMountinfo } from '../mounts.ts';
import { atDirectory, openWithin, statWithin, within } from './descent.ts';
import type { Image } from './image.ts';

export const treesName = 'carried.json';
export const contentsName = 'carried.data';

interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeMs: number;
}

export interface SavedDirectory extends Attributes {
  /** Below the tree's own place, '' for that. */
  readonly path: string;
  /** All that is in it, also what is not saved: what it had besides is to go. */
  readonly names: readonly string[];
}

export interface SavedEntry extends Attributes {
  readonly path: string;
  /** Of a link: where it leads. */
  readonly to?: string;
  /** Of a file: where its content is among the contents. */
  readonly at?: number;
  readonly bytes?: number;
}

export interface CarriedTree {
  /** Where it is mounted in the sandbox. */
  readonly target: string;
  /** Parents first. */
  readonly directories: readonly SavedDirectory[];
  readonly entries: readonly SavedEntry[];
}

/** Of a carrier's mounts. */
export interface CarriedPlaces {
  /** Directory of the node that has what differs from the image; null: the root cannot be written. */
  readonly upper: string | null;
  readonly mountPoints: ReadonlySet<string>;
  /** Why what was written to the root cannot be told from the image. */
  readonly trouble?: string;
}

const overlayRoot = /^\S+ \S+ \S+ \S+ \/ (\S+) .*- (\S+) \S+ (.*)$/m;

export function carriedPlacesOf(mountinfo: string): CarriedPlaces {
  const mountPoints = new Set(parseMountinfo(mountinfo).map(({ mountPoint }) => mountPoint));
  const [, options = '', type = '', superOptions = ''] = overlayRoot.exec(mountinfo) ?? [];
  if (options.split(',').includes('ro')) return { upper: null, mountPoints };
  const upper = /(?:^|,)upperdir=([^,]+)/.exec(superOptions)?.[1];
  if (type === 'overlay' && upper !== undefined) return { upper: unescaped(upper), mountPoints };
  const trouble = `the root of its carrier Pod is of type ${type === '' ? 'unknown' : type}, where what ranks wrote cannot be told from the image: use a snapshotter of type overlayfs`;
  return { upper: null, mountPoints, trouble };
}

const unescaped = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_whole, digits: string) => String.fromCharCode(parseInt(digits, 8)));

export const placesOfCarrier = ({ pid }: CarrierRecord): CarriedPlaces =>
  carriedPlacesOf(readFileSync(`/proc/${String(pid)}/mountinfo`, 'utf8'));

/** Its root as the node's root sees it, held open. */
export const openRoot = ({ pid }: CarrierRecord): number =>
  openSync(`/proc/${String(pid)}/root`, constants.O_RDONLY | constants.O_DIRECTORY);

/** What the waiting program is in is no part of the image, nor of the sandbox. */
const notCarried = new Set(['/.muster']);

export const isSkipped = (path: string, { mountPoints }: CarriedPlaces): boolean =>
  mountPoints.has(path) || notCarried.has(path);

const failure = (path: string, why: string, cause?: unknown): AgentError =>
  new AgentError('failed', 'DumpFailed', 'MUSTER_CARRIED_FILE', `${path} ${why}`, { cause });

export interface TreeSources {
  /** Volumes that nobody else has. */
  readonly scratch: readonly string[];
  /** As that gives it. */
  readonly hostRoot: string;
}

/** About as many bytes as would be copied at the moment. */
export async function bytesOfTrees(
  carrier: CarrierRecord,
  { scratch, hostRoot }: TreeSources,
): Promise<number> {
  const places = placesOfCarrier(carrier);
  const root = openRoot(carrier);
  try {
    let bytes = 0;
    if (places.upper !== null) {
      const upper = openSync(`${hostRoot}${places.upper}`, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        bytes += await bytesBelow(upper, '', places);
      } finally {
        closeSync(upper);
      }
    }
    for (const target of scratch)
      bytes += await atDirectory(root, target, (volume) => bytesBelow(volume, target, places));
    return bytes;
  } finally {
    closeSync(root);
  }
}

async function bytesBelow(directory: number, path: string, places: CarriedPlaces): Promise<number> {
  await immediately();
  let bytes = 0;
  for (const name of readdirSync(within(directory, '.'))) {
    const own = `${path}/${name}`;
    const stat = isSkipped(own, places) ? undefined : statWithin(directory, name);
    if (stat?.isFile()) bytes += stat.size;
    if (!stat?.isDirectory()) continue;
    try {
      bytes += await atDirectory(directory, name, (below) => bytesBelow(below, own, places));
    } catch {
      continue; // gone meanwhile, or something else by now
    }
  }
  return bytes;
}

/** Copies all of it into the image. */
export async function saveTrees(
  carrier: CarrierRecord,
  { scratch, hostRoot }: TreeSources,
  image: Image,
  signal: AbortSignal,
): Promise<void> {
  const places = placesOfCarrier(carrier);
  const contents = await open(image.pathOf(contentsName), 'w', 0o600);
  const root = openRoot(carrier);
  try {
    const writer = new TreeWriter(contents, places, signal);
    const trees: CarriedTree[] = [];
    if (places.upper !== null) {
      const upper = openSync(`${hostRoot}${places.upper}`, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        trees.push(await writer.save('/', upper, root));
      } finally {
        closeSync(upper);
      }
    }
    for (const target of scratch)
      trees.push(await atDirectory(root, target, (volume) => writer.save(target, volume, volume)));
    const list = await open(image.pathOf(treesName), 'w', 0o600);
    await list.writeFile(JSON.stringify(trees));
    await list.close();
  } finally {
    closeSync(root);
    await contents.close();
  }
}

const chunkBytes = 1 << 20;

class TreeWriter {
  readonly #contents: FileHandle;
  readonly #places: CarriedPlaces;
  readonly #signal: AbortSignal;
  #at = 0;

  constructor(contents: FileHandle, places: CarriedPlaces, signal: AbortSignal) {
    this.#contents = contents;
    this.#places = places;
    this.#signal = signal;
  }

  /** `layer` has names that are to be looked at, `seen` is the same directory as the sandbox sees it. */
  async save(target: string, layer: number, seen: number): Promise<CarriedTree> {
    const tree = { target, directories: [] as SavedDirectory[], entries: [] as SavedEntry[] };
    await this.#directory(tree, '', layer, seen);
    return tree;
  }

  async #directory(
    tree: { target: string; directories: SavedDirectory[]; entries: SavedEntry[] },
    path: string,
    layer: number,
    seen: number,
  ): Promise<void> {
    this.#signal.throwIfAborted();
    const prefix = tree.target === '/' ? '' : tree.target;
    const placeOf = (name: string): string => `${prefix}${path}/${name}`;
    const self = statWithin(seen, '.');
    if (!self) throw failure(placeOf(''), 'is gone');
    // Sockets are made anew by whoever is bound to them.
    const names = readdirSync(within(seen, '.')).filter(
      (name) => !isSkipped(placeOf(name), this.#places) && statWithin(seen, name)?.isSocket() === false,
    );
    tree.directories.push({ path, names, ...attributesOf(self) });
    for (const name of readdirSync(within(layer, '.'))) {
      const place = placeOf(name);
      const stat = isSkipped(place, this.#places) ? undefined : statWithin(seen, name);
      if (!stat) continue; // a mount, or a mark that the image's is gone, which the names tell
      const entry = { path: `${path}/${name}`, ...attributesOf(stat) };
      if (stat.isDirectory()) await this.#below(tree, entry.path, [layer, seen], name);
      else if (stat.isSymbolicLink()) tree.entries.push({ ...entry, to: readlinkSync(within(seen, name)) });
      else if (stat.isFile()) tree.entries.push({ ...entry, ...(await this.#content(seen, name, place)) });
      else if (!stat.isSocket())
        throw failure(place, 'is a device or a named pipe, which cannot be brought along');
    }
  }

  async #below(
    tree: { target: string; directories: SavedDirectory[]; entries: SavedEntry[] },
    path: string,
    [layer, seen]: readonly [number, number],
    name: string,
  ): Promise<void> {
    const own = openWithin(seen, name);
    try {
      if (layer === seen) return await this.#directory(tree, path, own, own);
      const upper = openWithin(layer, name);
      try {
        await this.#directory(tree, path, upper, own);
      } finally {
        closeSync(upper);
      }
    } finally {
      closeSync(own);
    }
  }

  async #content(directory: number, name: string, place: string): Promise<{ at: number; bytes: number }> {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(within(directory, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      if (!(await file.stat()).isFile()) throw failure(place, 'is not what it was a moment ago');
      const at = this.#at;
      const chunk = Buffer.allocUnsafe(chunkBytes);
      for (;;) {
        this.#signal.throwIfAborted();
        const { bytesRead } = await file.read(chunk, 0, chunkBytes, this.#at - at);
        if (bytesRead === 0) return { at, bytes: this.#at - at };
        await this.#contents.write(chunk, 0, bytesRead, this.#at);
        this.#at += bytesRead;
      }
    } catch (error) {
      if (error instanceof AgentError) throw error;
      const full = (error as NodeJS.ErrnoException).code === 'ENOSPC';
      throw full ? error : failure(place, `cannot be copied into the image: ${messageOf(error)}`, error);
    } finally {
      await file.close();
    }
  }
}

const attributesOf = ({ mode, uid, gid, mtimeMs }: Stats): Attributes => ({
  mode: mode & 0o7777,
  uid,
  gid,
  mtimeMs: Math.round(mtimeMs),
});
