/**
 * The durable half of the file store: a journal to which batches of writes are appended, and snapshots that let old
 * journals go. It knows operations (put this text, remove that key), not what they mean. Generation N is
 * `snapshot-N` (the state when `journal-N` began) and `journal-N`, `journal-N+1`, ...
 *
 * The file is always longer than what it holds, so that writes which must not fail have room when the disk is full.
 *
 * `append` resolves when the batch is on the disk. When it rejects, the batch is not there and never will be: the
 * journal is cut back, or, if the disk refuses even that, closed until a new generation could be written.
 */
import path from 'node:path';
import type { DoubtRecord } from './doubt.ts';
import type { FileSystem, StoreFile } from './file-system.ts';
import { encodeFrame } from './frame.ts';
import { Quarantine } from './quarantine.ts';
import { readStore, type Finding, type Header, type Operation, type Readable } from './recovery.ts';

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

/** Kept free in the journal for writes that must not fail on a full disk: some thousand deletions and changes of status. */
export const usualRoomBytes = 1024 * 1024;
/** The file grows by more than it needs, since a sync that finds a new length costs more. */
const stepBytes = 32 * 1024;
/** Versions skipped after a repair, so that no version a client may have seen is given out twice. */
const repairSkip = 1_000_000;

export class Journal {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #doubt: DoubtRecord;
  readonly #quarantine: Quarantine;
  readonly #roomBytes: number;
  #store = '';
  #generation = 0;
  #oldest = 0;
  #file: StoreFile | undefined;
  #length = 0;
  /** The length of the file: from `#length` on it is zero bytes. */
  #capacity = 0;
  #roomFailure: unknown;
  /** Set when the current file may hold bytes of a refused batch that could not be cut off. */
  #spoiled: unknown;
  #allSetAside = true;

  constructor(fs: FileSystem, directory: string, doubt: DoubtRecord, roomBytes: number) {
    this.#roomBytes = roomBytes;
    this.#fs = fs;
    this.#directory = directory;
    this.#doubt = doubt;
    this.#quarantine = new Quarantine(fs, directory);
  }

  /** Bytes in the current journal file. */
  get length(): number {
    return this.#length;
  }

  /** Why there was no room the last time. */
  get roomFailure(): unknown {
    return this.#roomFailure;
  }

  get spoiled(): boolean {
    return this.#spoiled !== undefined;
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /**
   * Takes up what is there. First it is read; then the doubt that follows from what cannot be read is written down; only
   * then is anything set aside, and the journal opened for appending.
   */
  async open(newStoreId: string, nowMs: number, existed: boolean): Promise<Recovered> {
    const fs = this.#fs;
    fs.makeDirectory(this.#directory);
    this.#doubt.read(nowMs);
    const readable = readStore(fs, this.#directory);
    const { findings, firstGeneration, nextGeneration } = readable;
    await this.#remember(findings, nowMs);
    if (existed && readable.store === '' && this.#doubt.doubt?.severity !== 'Lost')
      await this.#doubt.add('Lost', [`no store is in ${this.#directory}, where one was`], nowMs);
    const problems = findings.flatMap((finding) => this.#setAside(finding) ?? []);
    for (const name of readable.leftovers)
      if (problems.length === 0 || name.endsWith('.tmp')) this.#removeIfThere(name);
    let { version } = readable;
    this.#store = readable.store === '' ? newStoreId : readable.store;
    if (problems.length > 0) {
      version += repairSkip;
      await this.#quarantine.sync();
    }
    this.#oldest = firstGeneration;
    this.#giveBack(readable.room);
    // Never append to a file that another life of the store wrote: a new file needs no trust in the old one's end.
    await this.#startGeneration(nextGeneration, version);
    return {
      version,
      snapshot: readable.snapshot,
      snapshotVersion: readable.snapshotVersion,
      journal: readable.journal,
      problems,
      replaceable: this.#allSetAside,
      journalBytes: readable.journalBytes,
      journalFiles: nextGeneration - firstGeneration,
    };
  }

  async #remember(findings: readonly Finding[], nowMs: number): Promise<void> {
    for (const severity of ['Lost', 'Torn'] as const) {
      const grave = findings.filter((finding) => finding.severity === severity);
      const messages = grave.map(({ file, why }) => `${file} ${why}`);
      if (messages.length > 0) await this.#doubt.add(severity, messages, nowMs);
    }
  }

  #setAside({ file, why, setAside }: Finding): Problem | undefined {
    if (setAside === 'remove') {
      this.#removeIfThere(file);
      return undefined;
    }
    const target = setAside(this.#quarantine);
    if (target === undefined) return { file, message: `${file} ${why}` };
    if (target !== null) return { file, message: `${file} ${why}; set aside as ${target}`, setAside: target };
    this.#allSetAside = false;
    return { file, message: `${file} ${why}; it could not be set aside: the disk is full` };
  }

  /**
   * Whether as many bytes fit and the room set aside is still whole after them; where it is not, tries to get more. When
   * it cannot, the disk is full, and what is left is for what must not fail.
   */
  hasRoom(bytes: number): boolean {
    const wanted = this.#length + bytes + this.#roomBytes;
    if (wanted <= this.#capacity) return true;
    const file = this.#file!;
    try {
      file.write(new Uint8Array(wanted + stepBytes - this.#capacity), this.#capacity);
    } catch (error) {
      this.#roomFailure = error;
      this.#cutOff(file, this.#capacity);
      return false;
    }
    this.#capacity = wanted + stepBytes;
    return true;
  }

  /** One batch; each text is the JSON of one operation. */
  async append(operations: readonly string[]): Promise<void> {
    if (this.#spoiled !== undefined) {
      throw new Error('The journal waits for a new generation', { cause: this.#spoiled });
    }
    const file = this.#file!;
    const frame = encodeFrame(`[${operations.join(',')}]`);
    if (!this.hasRoom(frame.length) && this.#length + frame.length > this.#capacity) throw this.#roomFailure;
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
      this.#capacity = this.#length;
      await file.sync();
    } catch {
      this.#spoiled = cause;
    }
  }

  #cutOff(file: StoreFile, length: number): void {
    try {
      file.truncate(length);
    } catch {
      // Zero bytes beyond the end harm nobody.
    }
  }

  /** The room of a journal to which nothing will be appended any more is that of the next one. */
  #giveBack(room: Readable['room']): void {
    if (room === undefined) return;
    let file: StoreFile | undefined;
    try {
      file = this.#fs.open(this.#path(room.file));
      file.truncate(room.from);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    } finally {
      file?.close();
    }
  }

  async #startGeneration(generation: number, version: number): Promise<void> {
    const name = this.#path(`journal-${generation}`);
    const header = encodeFrame(JSON.stringify(this.#header('journal', generation, version)));
    this.#removeIfThere(`journal-${generation}`);
    const file = this.#fs.create(name);
    let capacity = header.length;
    try {
      file.write(header, 0);
      capacity += this.#writeRoom(file, header.length);
      await file.sync();
      await this.#fs.syncDirectory(this.#directory);
    } catch (error) {
      file.close();
      this.#removeIfThere(`journal-${generation}`);
      throw error;
    }
    if (this.#file) this.#cutOff(this.#file, this.#length);
    this.#file?.close();
    this.#file = file;
    this.#length = header.length;
    this.#capacity = capacity;
    this.#generation = generation;
  }

  /** As much of the room as the disk has, in bytes: the room given back may be a block short, or taken by another meanwhile. */
  #writeRoom(file: StoreFile, at: number): number {
    const step = new Uint8Array(Math.min(stepBytes, this.#roomBytes));
    let written = 0;
    try {
      while (written < this.#roomBytes) {
        file.write(step, at + written);
        written += step.length;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      this.#cutOff(file, at + written);
    }
    return written;
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

  #path(name: string): string {
    return path.join(this.#directory, name);
  }
}
