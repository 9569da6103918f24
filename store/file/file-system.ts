/**
 * The few operations of a file system that the file store stands on, so that tests can put a simulated disk below
 * it that loses power at any step. Writes go to the page cache and are quick, so they are synchronous; waiting for
 * the disk is not. Nothing here decides what is written where.
 */
import fs from 'node:fs';
import { promisify } from 'node:util';

export interface StoreFile {
  /** Writes all of it or throws; what a failed write left in the file is unknown. */
  write(data: Uint8Array, position: number): void;
  truncate(length: number): void;
  /** Resolves when data and length are on the disk. */
  sync(): Promise<void>;
  close(): void;
}

export interface FileSystem {
  makeDirectory(path: string): void;
  /** Names of the files and folders in it; empty if there is no such folder. */
  list(directory: string): { name: string; directory: boolean }[];
  /** Throws ENOENT. */
  read(path: string): Uint8Array;
  /** Makes a file that must not exist yet. */
  create(path: string): StoreFile;
  /** Opens a file that exists. */
  open(path: string): StoreFile;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** Resolves when names made, renamed and removed in it are on the disk. */
  syncDirectory(path: string): Promise<void>;
}

const fdatasync = promisify(fs.fdatasync);
const fsync = promisify(fs.fsync);

class NodeFile implements StoreFile {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(data: Uint8Array, position: number): void {
    let done = 0;
    while (done < data.length)
      done += fs.writeSync(this.#fd, data, done, data.length - done, position + done);
  }

  truncate(length: number): void {
    fs.ftruncateSync(this.#fd, length);
  }

  sync(): Promise<void> {
    return fdatasync(this.#fd);
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

/** The real one. Files are readable by their owner alone: the store holds secrets. */
export const nodeFileSystem: FileSystem = {
  makeDirectory(path) {
    fs.mkdirSync(path, { recursive: true, mode: 0o700 });
  },
  list(directory) {
    try {
      const entries = fs.readdirSync(directory, { withFileTypes: true });
      return entries.map((entry) => ({ name: entry.name, directory: entry.isDirectory() }));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  },
  read: (path) => fs.readFileSync(path),
  create: (path) => new NodeFile(fs.openSync(path, 'wx', 0o600)),
  open: (path) => new NodeFile(fs.openSync(path, 'r+')),
  rename: (from, to) => fs.renameSync(from, to),
  remove: (path) => fs.unlinkSync(path),
  async syncDirectory(path) {
    const fd = fs.openSync(path, 'r');
    try {
      await fsync(fd);
    } finally {
      fs.closeSync(fd);
    }
  },
};
