// Where images of sandboxes lie that are on their way to another node: in memory (a tmpfs of the machine) where there is room for
// them, else on the agent's disk. They are of no use after the move, whatever came of it. It knows no protocol; an image is found
// again by the uid of its migration after a restart of the agent.
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statfsSync } from 'node:fs';
import type { ImageId } from '../../wire/agent-types.ts';
import { errnoOf } from '../agent-error.ts';
import { Image, ImageStore } from '../checkpoint/image.ts';

const tmpfs = 0x01021994;
const memoryMounts = ['/dev/shm', '/run'];
/** Files of an engine are somewhat larger than the memory that they hold. */
const roomFactor = 1.1;

export class Transit {
  readonly #memory: string | null;
  readonly #disk: string;

  constructor(stateDir: string) {
    const name = `muster-transit-${createHash('sha256').update(stateDir).digest('hex').slice(0, 12)}`;
    const mount = memoryMounts.find(isMemory);
    this.#memory = mount === undefined ? null : `${mount}/${name}`;
    this.#disk = `${stateDir}/transit`;
  }

  /** Bytes that an image may have. */
  freeBytes(): number {
    return Math.max(this.#memory === null ? 0 : memoryFree(this.#memory), free(this.#disk));
  }

  /** A new, empty image, where there is room for so much. */
  create(id: ImageId, neededBytes: number): Image {
    this.remove(id);
    const inMemory = this.#memory !== null && memoryFree(this.#memory) >= neededBytes * roomFactor;
    const root = inMemory && isOwn(this.#memory) ? this.#memory : this.#disk;
    const image = new ImageStore(root).of(id);
    image.create();
    return image;
  }

  /** The image as it was created; null: there is none. */
  find(id: ImageId): Image | null {
    for (const root of this.#roots) {
      const image = new Image(`${root}/${id.checkpointUid}-${String(id.ordinal)}`, id);
      if (image.exists) return image;
    }
    return null;
  }

  remove(id: ImageId): void {
    this.find(id)?.remove();
    for (const root of this.#roots) removeEmpty(root);
  }

  /** What an earlier agent has left of moves that are over. */
  sweep(inWork: readonly ImageId[]): void {
    const kept = new Set(inWork.map(({ checkpointUid, ordinal }) => `${checkpointUid}-${String(ordinal)}`));
    for (const root of this.#roots) {
      for (const name of list(root))
        if (!kept.has(name)) new Image(`${root}/${name}`, { checkpointUid: '', ordinal: 0 }).remove();
      removeEmpty(root);
    }
  }

  get #roots(): string[] {
    return [this.#memory, this.#disk].filter((root) => root !== null);
  }
}

function isMemory(mount: string): boolean {
  try {
    return statfsSync(mount).type === tmpfs;
  } catch {
    return false;
  }
}

/** Anybody may make names there: a directory that is not the agent's alone is not used. */
function isOwn(root: string | null): root is string {
  if (root === null) return false;
  try {
    mkdirSync(root, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') return false;
  }
  const stat = lstatSync(root);
  return stat.isDirectory() && stat.uid === (process.geteuid?.() ?? 0) && (stat.mode & 0o077) === 0;
}

/** Of the file system, and of the machine. */
function memoryFree(root: string): number {
  const available = /^MemAvailable:\s*(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? '0';
  return Math.min(Number(available) * 1024, free(root.slice(0, root.lastIndexOf('/'))));
}

function free(path: string): number {
  for (let at = path; at !== ''; at = at.slice(0, at.lastIndexOf('/'))) {
    try {
      const { bavail, bsize } = statfsSync(at);
      return bavail * bsize;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
  return 0;
}

function removeEmpty(root: string): void {
  try {
    rmdirSync(root);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY'].includes(errnoOf(error) ?? '')) throw error;
  }
}

function list(root: string): string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
