/**
 * Where a store puts what it cannot read or does not know, so that nothing is ever thrown away unread: a folder beside
 * its files, in which every name is taken once.
 */
import path from 'node:path';
import type { FileSystem } from './file-system.ts';

export const quarantine = '.quarantine';

export class Quarantine {
  readonly #fs: FileSystem;
  readonly #directory: string;

  constructor(fs: FileSystem, directory: string) {
    this.#fs = fs;
    this.#directory = directory;
  }

  /** Moves a file of the store here; gives its new path in the store's directory. */
  file(name: string): string {
    const target = this.#freeName(name);
    this.#fs.rename(path.join(this.#directory, name), path.join(this.#directory, target));
    return target;
  }

  /** Keeps a copy of bytes that stay where they are; null when there is no room for it. */
  copy(name: string, bytes: Uint8Array): string | null {
    try {
      const target = this.#freeName(name);
      const file = this.#fs.create(path.join(this.#directory, target));
      try {
        file.write(bytes, 0);
      } finally {
        file.close();
      }
      return target;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      return null;
    }
  }

  async sync(): Promise<void> {
    if (this.#fs.list(this.#directory).some(({ name }) => name === quarantine))
      await this.#fs.syncDirectory(path.join(this.#directory, quarantine));
  }

  #freeName(name: string): string {
    const folder = path.join(this.#directory, quarantine);
    this.#fs.makeDirectory(folder);
    const taken = new Set(this.#fs.list(folder).map((entry) => entry.name));
    let free = name;
    for (let copy = 2; taken.has(free); copy += 1) free = `${name}.${copy}`;
    return path.join(quarantine, free);
  }
}
