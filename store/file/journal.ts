/**
 * The durable half of the file store: a journal to which batches of writes are appended, and snapshots that let old
 * journals go. It knows operations (put this text, remove that key), not what they mean. Generation N is
 * `snapshot-N` (the state when `journal-N` began) and `journal-N`, `journal-N+1`, ...
 *
 * `append` resolves when the batch is on the disk. When it rejects, the batch is not there and never will be: the
 * journal is cut back, or, if the disk refuses even that, closed until a new generation could be written.
 */
import path from 'node:path';
import type { FileSystem, StoreFile } from './file-system.ts';
import { decodeFrames, encodeFrame, type Damage } from './frame.ts';

/** `[resource, key, object]` puts; `[resource, key, version]` removes. */
export type Operation = readonly [resource: string, key: string, objectOrVersion: object | number];

export interface Problem {
  readonly file: string;
  readonly message: string;
  /** Where the unreadable bytes or the foreign file were put. */
  readonly setAside?: string;
}

/** A line for whoever runs the store; facts as fields. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface Recovered {
  readonly version: number;
  /** The state that the journals begin with, and its version. */
  readonly snapshot: readonly Operation[];
  readonly snapshotVersion: number;
  readonly journal: readonly Operation[];
  readonly problems: readonly Problem[];
  /** What could not be read is either intact elsewhere or copied to the quarantine, so a snapshot may replace it. */
  readonly replaceable: boolean;
  /** Bytes of journal that were read. */
  readonly journalBytes: number;
  readonly journalFiles: number;
}

interface Header {
  readonly muster: 'journal' | 'snapshot';
  readonly format: 1;
  readonly store: string;
  readonly generation: number;
  readonly version: number;
  /** Snapshots: the number of object frames. */
  readonly count?: number;
}

export const quarantine = '.quarantine';
const filePattern = /^(journal|snapshot)-(\d{1,12})$/;
const ownFiles = /^(owner-\d+|\.owner-.*\.tmp|manifests\.json|manifests\.json\.tmp)$/;
/** Versions skipped after a repair, so that no version a client may have seen is given out twice. */
const repairSkip = 1_000_000;

export class Journal {
  readonly #fs: FileSystem;
  readonly #directory: string;
  #store = '';
  #generation = 0;
  #oldest = 0;
  #file: StoreFile | undefined;
  #length = 0;
  /** Set when the current file may hold bytes of a refused batch that could not be cut off. */
  #spoiled: unknown;
  #allSetAside = true;

  constructor(fs: FileSystem, directory: string) {
    this.#fs = fs;
    this.#directory = directory;
  }

  /** Bytes in the current journal file. */
  get length(): number {
    return this.#length;
  }

  get spoiled(): boolean {
    return this.#spoiled !== undefined;
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** Reads what is there, sets aside what is not ours or cannot be read, and opens the journal for appending. */
  async open(newStoreId: string): Promise<Recovered> {
    const fs = this.#fs;
    fs.makeDirectory(this.#directory);
    const problems: Problem[] = [];
    const snapshots: number[] = [];
    const journals: number[] = [];
    for (const { name, directory } of fs.list(this.#directory)) {
      const match = filePattern.exec(name);
      if (directory || ownFiles.test(name)) continue;
      if (match) (match[1] === 'journal' ? journals : snapshots).push(Number(match[2]));
      else if (/^(journal|snapshot)-\d+\.tmp$/.test(name)) fs.remove(this.#path(name));
      else problems.push(this.#setAsideFile(name, 'is not a file of this store'));
    }
    snapshots.sort((a, b) => b - a);
    journals.sort((a, b) => a - b);

    // Version 0 means "any" in the API, so an empty store is at 1.
    let version = 1;
    let journalBytes = 0;
    let snapshot: Operation[] = [];
    let snapshotVersion = 0;
    const batches: Operation[][] = [];
    let base: number | undefined;
    for (const generation of snapshots) {
      if (base !== undefined) {
        if (problems.length === 0) this.#removeIfThere(`snapshot-${generation}`);
        continue;
      }
      const read = this.#readSnapshot(generation, problems);
      if (read === undefined) continue;
      base = generation;
      this.#store = read.store;
      version = read.version;
      snapshotVersion = read.version;
      snapshot = read.operations;
    }
    const firstJournal = base ?? journals[0] ?? 0;
    let expected = firstJournal;
    for (const generation of journals) {
      if (generation < firstJournal) {
        if (problems.length === 0) this.#removeIfThere(`journal-${generation}`);
        continue;
      }
      if (generation > expected) {
        problems.push({ file: `journal-${expected}`, message: 'is missing; what it held is lost' });
      }
      const read = this.#readJournal(generation, generation === journals.at(-1), problems);
      if (read === undefined) continue;
      batches.push(read.operations);
      version = Math.max(version, read.version);
      journalBytes += read.bytes;
      expected = generation + 1;
    }
    if (this.#store === '') this.#store = newStoreId;
    if (problems.length > 0) {
      version += repairSkip;
      if (fs.list(this.#directory).some(({ name }) => name === quarantine)) {
        await fs.syncDirectory(this.#path(quarantine));
      }
    }
    this.#oldest = firstJournal;
    // Never append to a file that another life of the store wrote: a new file needs no trust in the old one's end.
    await this.#startGeneration(expected, version);
    return {
      version,
      snapshot,
      snapshotVersion,
      journal: batches.flat(),
      problems,
      replaceable: this.#allSetAside,
      journalBytes,
      journalFiles: expected - firstJournal,
    };
  }

  /** One batch; each text is the JSON of one operation. */
  async append(operations: readonly string[]): Promise<void> {
    if (this.#spoiled !== undefined) {
      throw new Error('The journal waits for a new generation', { cause: this.#spoiled });
    }
    const file = this.#file!;
    const frame = encodeFrame(`[${operations.join(',')}]`);
    try {
      file.write(frame, this.#length);
    } catch (error) {
      await this.#cutBack(file, error);
      throw error;
    }
    try {
      await file.sync();
    } catch (error) {
      // After a failed sync the kernel may take the pages for clean: nothing in this file can be trusted to be cut.
      this.#spoiled = error;
      throw error;
    }
    this.#length += frame.length;
  }

  /**
   * Begins a new journal file; nothing may be appended meanwhile. The function it returns writes the snapshot that
   * belongs to it, which must be the state at this moment, removes what is older and gives its size; batches may be appended
   * while that runs.
   */
  async beginGeneration(version: number): Promise<(state: readonly Operation[]) => Promise<number>> {
    const old = this.#oldest;
    const generation = this.#generation + 1;
    await this.#startGeneration(generation, version);
    return async (state) => {
      const bytes = await this.#writeSnapshot(generation, state, version);
      await this.#removeBefore(old, generation);
      return bytes;
    };
  }

  /**
   * After a failed sync: the committed state goes into a new generation's snapshot before anything is appended, so
   * that the bytes of the refused batch in the old file are never read again.
   */
  async recover(state: readonly Operation[], version: number): Promise<void> {
    const old = this.#oldest;
    const next = this.#generation + 1;
    await this.#writeSnapshot(next, state, version);
    await this.#startGeneration(next, version);
    this.#spoiled = undefined;
    await this.#removeBefore(old, next);
  }

  async #cutBack(file: StoreFile, cause: unknown): Promise<void> {
    try {
      file.truncate(this.#length);
      await file.sync();
    } catch {
      this.#spoiled = cause;
    }
  }

  async #startGeneration(generation: number, version: number): Promise<void> {
    const name = this.#path(`journal-${generation}`);
    const header = encodeFrame(JSON.stringify(this.#header('journal', generation, version)));
    this.#removeIfThere(`journal-${generation}`);
    const file = this.#fs.create(name);
    try {
      file.write(header, 0);
      await file.sync();
      await this.#fs.syncDirectory(this.#directory);
    } catch (error) {
      file.close();
      this.#removeIfThere(`journal-${generation}`);
      throw error;
    }
    this.#file?.close();
    this.#file = file;
    this.#length = header.length;
    this.#generation = generation;
  }

  #header(muster: Header['muster'], generation: number, version: number): Header {
    return { muster, format: 1, store: this.#store, generation, version };
  }

  async #writeSnapshot(generation: number, state: readonly Operation[], version: number): Promise<number> {
    const name = `snapshot-${generation}`;
    const draft = `${name}.tmp`;
    this.#removeIfThere(draft);
    const file = this.#fs.create(this.#path(draft));
    let position = 0;
    try {
      let pending: Buffer[] = [
        encodeFrame(
          JSON.stringify({ ...this.#header('snapshot', generation, version), count: state.length }),
        ),
      ];
      let bytes = pending[0]!.length;
      const flush = (): void => {
        file.write(Buffer.concat(pending), position);
        position += bytes;
        pending = [];
        bytes = 0;
      };
      for (const operation of state) {
        const frame = encodeFrame(JSON.stringify(operation));
        pending.push(frame);
        bytes += frame.length;
        if (bytes >= 256 * 1024) {
          flush();
          // Lets requests through between slices of a large snapshot.
          await new Promise((resolve) => void setImmediate(resolve));
        }
      }
      flush();
      await file.sync();
    } catch (error) {
      file.close();
      this.#removeIfThere(draft);
      throw error;
    }
    file.close();
    this.#fs.rename(this.#path(draft), this.#path(name));
    await this.#fs.syncDirectory(this.#directory);
    return position;
  }

  async #removeBefore(from: number, generation: number): Promise<void> {
    this.#oldest = generation;
    for (let older = from; older < generation; older += 1) {
      this.#removeIfThere(`snapshot-${older}`);
      this.#removeIfThere(`journal-${older}`);
    }
    await this.#fs.syncDirectory(this.#directory);
  }

  #removeIfThere(name: string): void {
    try {
      this.#fs.remove(this.#path(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  #readSnapshot(
    generation: number,
    problems: Problem[],
  ): { store: string; version: number; operations: Operation[] } | undefined {
    const name = `snapshot-${generation}`;
    const bytes = this.#fs.read(this.#path(name));
    const { frames, damage } = decodeFrames(bytes);
    const header = headerOf(frames[0]?.value, 'snapshot', generation);
    const operations = frames.flatMap(({ value }) => (isOperation(value) ? [value] : []));
    // A snapshot whose first line alone is unreadable still gives up its objects.
    if (header === undefined && operations.length === 0) {
      problems.push(this.#setAsideFile(name, 'does not begin as a snapshot of this store does'));
      return undefined;
    }
    for (const range of damage)
      problems.push(this.#setAsideRange(name, bytes, range, 'holds unreadable objects'));
    if (damage.length === 0 && operations.length !== header?.count) {
      problems.push({
        file: name,
        message: `holds ${operations.length} objects, its first line says ${header?.count}`,
      });
    }
    let version = header?.version ?? 0;
    for (const operation of operations) version = Math.max(version, versionOf(operation));
    return { store: header?.store ?? '', version, operations };
  }

  #readJournal(
    generation: number,
    last: boolean,
    problems: Problem[],
  ): { version: number; operations: Operation[]; bytes: number } | undefined {
    const name = `journal-${generation}`;
    const bytes = this.#fs.read(this.#path(name));
    const { frames, damage } = decodeFrames(bytes);
    const header = headerOf(frames[0]?.value, 'journal', generation);
    if (header === undefined) {
      // A power loss while the file was being made leaves it empty or torn, and nothing else in it.
      if (last && frames.length === 0) this.#fs.remove(this.#path(name));
      else problems.push(this.#setAsideFile(name, 'does not begin as a journal of this store does'));
      return undefined;
    }
    if (this.#store === '') this.#store = header.store;
    if (header.store !== this.#store) {
      problems.push(this.#setAsideFile(name, `belongs to another store (${header.store})`));
      return undefined;
    }
    for (const range of damage) {
      const torn = range.to === bytes.length;
      problems.push(
        this.#setAsideRange(
          name,
          bytes,
          range,
          torn
            ? 'ends in a torn write, which nobody was told had succeeded'
            : 'holds an unreadable batch of writes',
        ),
      );
    }
    const operations = frames
      .slice(1)
      .flatMap(({ value }) => (Array.isArray(value) ? value.filter((item) => isOperation(item)) : []));
    let { version } = header;
    for (const operation of operations) version = Math.max(version, versionOf(operation));
    return { version, operations, bytes: bytes.length };
  }

  #setAsideFile(name: string, why: string): Problem {
    const target = this.#freeName(name);
    this.#fs.rename(this.#path(name), this.#path(target));
    return { file: name, message: `${name} ${why}; set aside as ${target}`, setAside: target };
  }

  #setAsideRange(name: string, bytes: Uint8Array, range: Damage, why: string): Problem {
    const target = this.#freeName(`${name}.at-${range.from}`);
    const message = `${name} ${why} (bytes ${range.from} to ${range.to}); a copy is in ${target}`;
    try {
      const file = this.#fs.create(this.#path(target));
      try {
        file.write(bytes.subarray(range.from, range.to), 0);
      } finally {
        file.close();
      }
    } catch {
      this.#allSetAside = false;
      return { file: name, message: `${message} (incomplete: the disk is full)` };
    }
    return { file: name, message, setAside: target };
  }

  #freeName(name: string): string {
    this.#fs.makeDirectory(this.#path(quarantine));
    const taken = new Set(this.#fs.list(this.#path(quarantine)).map((entry) => entry.name));
    let free = name;
    for (let copy = 2; taken.has(free); copy += 1) free = `${name}.${copy}`;
    return path.join(quarantine, free);
  }

  #path(name: string): string {
    return path.join(this.#directory, name);
  }
}

export function versionOf([, , value]: Operation): number {
  if (typeof value === 'number') return value;
  const version = (value as { metadata?: { resourceVersion?: unknown } }).metadata?.resourceVersion;
  return Number(version ?? 0) || 0;
}

function headerOf(value: unknown, muster: Header['muster'], generation: number): Header | undefined {
  const header = value as Partial<Header> | undefined;
  const good =
    header?.muster === muster &&
    header.format === 1 &&
    header.generation === generation &&
    typeof header.store === 'string' &&
    typeof header.version === 'number';
  return good ? (header as Header) : undefined;
}

function isOperation(value: unknown): value is Operation {
  if (!Array.isArray(value) || value.length !== 3) return false;
  const [resource, key, change] = value as unknown[];
  const putOrRemove = typeof change === 'number' || (typeof change === 'object' && change !== null);
  return typeof resource === 'string' && typeof key === 'string' && putOrRemove;
}
