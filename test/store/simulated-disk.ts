/**
 * A disk with a page cache that can lose power or fail at any step. What was synced survives; of what was not, any
 * sector of a write may or may not be there after the crash, and any prefix, sometimes any subset, of the changes of
 * names. A sync that fails forgets what it should have written, as Linux does.
 */
import path from 'node:path';
import type { FileSystem, StoreFile } from '../../store/file/file-system.ts';

type Change = { at: number; data: Uint8Array } | { truncate: number };

class Inode {
  visible = new Uint8Array();
  durable = new Uint8Array();
  unsynced: Change[] = [];
}

interface NameChange {
  readonly directory: string;
  apply(names: Map<string, Inode>): void;
}

export class PowerLoss extends Error {}

export type Fault = 'power' | 'ENOSPC' | 'EIO' | undefined;

const sector = 64;

export class SimulatedDisk implements FileSystem {
  /** Steps so far: writes, syncs, truncations, creations, renames, removals. */
  steps = 0;
  /** Asked before every step. */
  fault: (step: number, operation: string) => Fault = () => undefined;
  #dead = false;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #nameChanges: NameChange[] = [];

  /** The disk that the next boot finds. `random` gives numbers from 0 to 1. */
  afterPowerLoss(random: () => number): SimulatedDisk {
    const disk = new SimulatedDisk();
    const names = new Map(this.#durableNames);
    const kept = Math.floor(random() * (this.#nameChanges.length + 1));
    const anyOrder = random() < 0.4;
    this.#nameChanges.forEach((change, index) => {
      if (anyOrder ? random() < 0.5 : index < kept) change.apply(names);
    });
    const copies = new Map<Inode, Inode>();
    for (const [name, inode] of names) {
      let copy = copies.get(inode);
      if (copy === undefined) {
        copy = new Inode();
        let data = inode.durable;
        const style = random();
        for (const change of inode.unsynced) {
          if ('truncate' in change) {
            if (random() < 0.5) data = data.slice(0, change.truncate);
            continue;
          }
          for (let from = 0; from < change.data.length; from += sector) {
            // Mostly all or nothing; sometimes any mixture of sectors.
            if (style < 0.4 || (style < 0.8 && random() < 0.5)) {
              data = written(data, change.data.slice(from, from + sector), change.at + from);
            }
          }
        }
        copy.visible = data.slice();
        copy.durable = data.slice();
        copies.set(inode, copy);
      }
      disk.#names.set(name, copy);
      disk.#durableNames.set(name, copy);
    }
    return disk;
  }

  makeDirectory(): void {
    this.#alive();
  }

  list(directory: string): { name: string; directory: boolean }[] {
    this.#alive();
    const found = new Map<string, boolean>();
    for (const name of this.#names.keys()) {
      const relative = path.relative(directory, name);
      if (relative.startsWith('..')) continue;
      const [first, ...rest] = relative.split('/');
      found.set(first!, rest.length > 0);
    }
    return [...found].map(([name, isDirectory]) => ({ name, directory: isDirectory }));
  }

  read(file: string): Uint8Array {
    this.#alive();
    return this.#find(file).visible.slice();
  }

  create(file: string): StoreFile {
    this.#step('create', file);
    if (this.#names.has(file)) throw errno('EEXIST', file);
    const inode = new Inode();
    this.#rename(file, (names) => names.set(file, inode));
    return this.#file(inode, file);
  }

  open(file: string): StoreFile {
    this.#alive();
    return this.#file(this.#find(file), file);
  }

  rename(from: string, to: string): void {
    this.#step('rename', from);
    const inode = this.#find(from);
    this.#rename(from, (names) => {
      names.delete(from);
      names.set(to, inode);
    });
  }

  remove(file: string): void {
    this.#find(file);
    this.#step('remove', file);
    this.#rename(file, (names) => names.delete(file));
  }

  async syncDirectory(directory: string): Promise<void> {
    await Promise.resolve();
    this.#step('sync', directory);
    for (const change of this.#nameChanges) change.apply(this.#durableNames);
    this.#nameChanges = [];
  }

  #file(inode: Inode, name: string): StoreFile {
    return {
      write: (data, position) => {
        try {
          this.#step('write', name);
        } catch (error) {
          // What a failing write leaves behind is some of it.
          this.#write(inode, data.slice(0, Math.floor(data.length / 2)), position);
          throw error;
        }
        this.#write(inode, data.slice(), position);
      },
      truncate: (length) => {
        this.#step('truncate', name);
        inode.visible = inode.visible.slice(0, length);
        inode.unsynced.push({ truncate: length });
      },
      sync: async () => {
        await Promise.resolve();
        try {
          this.#step('sync', name);
        } catch (error) {
          if (!this.#dead) inode.unsynced = [];
          throw error;
        }
        inode.durable = inode.visible.slice();
        inode.unsynced = [];
      },
      close: () => undefined,
    };
  }

  #write(inode: Inode, data: Uint8Array, at: number): void {
    inode.visible = written(inode.visible, data, at);
    inode.unsynced.push({ at, data });
  }

  #rename(file: string, apply: (names: Map<string, Inode>) => void): void {
    apply(this.#names);
    this.#nameChanges.push({ directory: path.dirname(file), apply });
  }

  #find(file: string): Inode {
    this.#alive();
    const inode = this.#names.get(file);
    if (inode === undefined) throw errno('ENOENT', file);
    return inode;
  }

  #alive(): void {
    if (this.#dead) throw new PowerLoss('the power is off');
  }

  #step(operation: string, file: string): void {
    this.#alive();
    this.steps += 1;
    const fault = this.fault(this.steps, operation);
    if (fault === undefined) return;
    if (fault === 'power') {
      this.#dead = true;
      throw new PowerLoss('the power went off');
    }
    throw errno(fault, file);
  }
}

function written(into: Uint8Array, data: Uint8Array, at: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(Math.max(into.length, at + data.length));
  result.set(into);
  result.set(data, at);
  return result;
}

function errno(code: string, file: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: simulated, ${file}`), { code });
}
