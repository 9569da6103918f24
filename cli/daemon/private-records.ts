/**
 * What belongs to a group but must not stand in its object: the caller's environment and the token with which a front takes up
 * a lost connection. One root-only file each, named by a random id that the object carries; durable before the object is.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

export interface PrivateRecord {
  readonly environment: Readonly<Record<string, string>>;
  readonly frontToken: string;
}

const idPattern = /^[0-9a-f]{32}$/;

export class PrivateRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Writes the record and gives its id. */
  put(record: PrivateRecord): string {
    const id = randomBytes(16).toString('hex');
    const file = join(this.#directory, id);
    const fd = openSync(`${file}.new`, 'wx', 0o600);
    try {
      writeSync(fd, JSON.stringify(record));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(`${file}.new`, file);
    return id;
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
