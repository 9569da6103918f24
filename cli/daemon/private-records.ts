/**
 * What belongs to a group but must not stand in its object: the caller's environment and the token with which a front takes up
 * a lost connection. One root-only file each, named by a random id that the object carries.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, fsync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const syncFile = promisify(fsync);

export interface PrivateRecord {
  readonly environment: Readonly<Record<string, string>>;
  readonly frontToken: string;
}

const idPattern = /^[0-9a-f]{32}$/;

/** No object of a client's may name a record: records are root's. */
export const isRecordId = (text: string): boolean => idPattern.test(text);

export class PrivateRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * Writes the record, which can be read at once, and gives its id. Nobody may be told of it before `durable` has resolved; what
   * names it may be on its way to the disk meanwhile.
   */
  put(record: PrivateRecord): { id: string; durable: Promise<void> } {
    const id = randomBytes(16).toString('hex');
    const fd = openSync(join(this.#directory, id), 'wx', 0o600);
    try {
      writeFileSync(fd, JSON.stringify(record));
    } catch (error) {
      closeSync(fd);
      this.remove(id);
      throw error;
    }
    return { id, durable: this.#sync(fd) };
  }

  /** Its bytes and its name at once: one may be there without the other, and then nobody was told of it. */
  async #sync(fd: number): Promise<void> {
    const opened = [fd];
    try {
      opened.push(openSync(this.#directory, 'r'));
      const synced = await Promise.allSettled(opened.map((each) => syncFile(each)));
      for (const each of synced) if (each.status === 'rejected') throw each.reason;
    } finally {
      for (const each of opened) closeSync(each);
    }
  }

  /** Undefined when there is none; an id comes from an object and is not trusted to be a file name. */
  get(id: string | undefined): PrivateRecord | undefined {
    if (id === undefined || !idPattern.test(id)) return undefined;
    try {
      return JSON.parse(readFileSync(join(this.#directory, id), 'utf8')) as PrivateRecord;
    } catch {
      return undefined;
    }
  }

  remove(id: string | undefined): void {
    if (id !== undefined && idPattern.test(id)) rmSync(join(this.#directory, id), { force: true });
  }

  /** Removes the records that no object names any more. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const name of readdirSync(this.#directory)) {
      if (!ids.has(name)) rmSync(join(this.#directory, name), { force: true });
    }
  }
}
