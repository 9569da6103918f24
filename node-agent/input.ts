// Standard input of a sandbox's ranks: a spool file that writers append to at exact offsets, and one reading description a
// rank, which rank-init holds too, so its position survives any agent. Delivered bytes are punched out of the file. It is
// sparse, so its length is the number of bytes ever given, and `end` beside it says that there will be no more.
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import type { InputPump, Native } from '../native/addon/index.ts';
import { sizeOf } from './log-stream.ts';

const recordBytes = 24;
const flagDone = 1;
const flagError = 2;
const punchBytes = 1 << 20;
/** Bytes spliced into a pipe are pages of the file until they are read: a hole there would read as zeros. */
const pipeBytes = 2 << 20;

/** Bytes that may lie undelivered before writers have to wait. */
export const inputWindowBytes = 16 << 20;
/** FRONT_NOBODY_READS of native/front/protocol.h. */
export const nobodyReads = Number.MAX_SAFE_INTEGER;

interface Reader {
  readonly spool: InputSpool;
  position: number;
  done: boolean;
  /** Done without having taken everything. */
  gone: boolean;
}

export class InputSpool {
  readonly #directory: string;
  readonly #readers = new Map<number, Reader>();
  readonly #pump: InputPump;
  readonly #native: Native;
  #punched = 0;
  #kept = Infinity;
  /** Its length when no rank was left to read it. */
  #discarded: number | null = null;
  #isHeld = false;
  /** Told when more may be written. */
  readonly listeners = new Set<() => void>();
  /** Told when who writes from afar is to begin anew, wherever the ranks are then. */
  readonly onLetGo = new Set<() => void>();

  constructor(directory: string, pump: InputPump, native: Native) {
    this.#directory = directory;
    this.#pump = pump;
    this.#native = native;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (!existsSync(this.path)) writeFileSync(this.path, '', { mode: 0o600 });
  }

  get path(): string {
    return `${this.#directory}/spool`;
  }

  get length(): number {
    return this.#discarded ?? sizeOf(this.path);
  }

  get ended(): boolean {
    return this.#discarded !== null || existsSync(`${this.#directory}/end`);
  }

  /** Writers may write up to here: the slowest reader's position and a window; `nobodyReads` once all readers have gone. */
  get window(): number {
    if (this.#discarded !== null) return nobodyReads;
    if (this.#readers.size > 0 && [...this.#readers.values()].every((reader) => reader.gone))
      return nobodyReads;
    return this.#slowest() + inputWindowBytes;
  }

  /** A new description for a rank, to be handed to rank-init. */
  openDescription(): number {
    return openSync(this.path, 'r');
  }

  /** An append-only description for a writer on this machine. */
  openForAppend(): number {
    return openSync(this.path, 'a+'); // what ranks that move do not take along the writer reads again
  }

  /** What ranks that move take along is settled: nothing from afar is taken any more. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  hold(): void {
    this.#isHeld = true;
  }

  letGo(): void {
    this.#isHeld = false;
    for (const listener of this.onLetGo) listener();
  }

  /** Starts delivery through `spoolFd` (rank-init's description) to `pipeFd`; both are taken. */
  attach(id: number, spoolFd: number, pipeFd: number, reader: { position: number }): Reader {
    const entry = { spool: this, position: reader.position, done: false, gone: false };
    this.#readers.set(id, entry);
    this.#pump.add(id, spoolFd, pipeFd);
    this.#pump.advance(id, BigInt(this.length), this.ended);
    return entry;
  }

  /** Bytes for exactly this offset; what is already there is skipped. False: there is a gap before it. */
  write(offset: number, data: Uint8Array): boolean {
    const length = this.length;
    if (this.#discarded !== null) return true;
    if (offset > length) return false;
    const fresh = data.subarray(length - offset);
    if (fresh.length === 0) return true;
    const fd = openSync(this.path, 'r+');
    try {
      for (let done = 0; done < fresh.length;)
        done += writeSync(fd, fresh, done, fresh.length - done, length + done);
    } finally {
      closeSync(fd);
    }
    this.advance();
    return true;
  }

  end(): void {
    if (this.#discarded !== null) return;
    writeFileSync(`${this.#directory}/end`, '');
    this.advance();
  }

  /** Tells the pump what the file holds by now. */
  advance(): void {
    if (this.#discarded !== null) return;
    const [length, ended] = [BigInt(this.length), this.ended];
    for (const id of this.#readers.keys()) this.#pump.advance(id, length, ended);
  }

  progress(id: number, position: number, done: boolean, gone: boolean): void {
    const reader = this.#readers.get(id);
    if (!reader) return;
    reader.position = position;
    if (done) reader.done = true;
    if (gone) reader.gone = true;
    this.#punch();
    for (const listener of this.listeners) listener();
  }

  remove(): void {
    this.letGo();
    for (const id of this.#readers.keys()) this.#pump.remove(id);
    this.#readers.clear();
  }

  /** Delivers nothing more until ranks are attached again; gives the ids that were let go. */
  pause(): number[] {
    const ids = [...this.#readers].filter(([, reader]) => !reader.done).map(([id]) => id);
    for (const id of ids) {
      this.#pump.remove(id);
      this.#readers.delete(id);
    }
    return ids;
  }

  /** Bytes from here on stay in the file, whoever has read them; null: until all have. */
  keepFrom(position: number | null): void {
    this.#kept = position ?? Infinity;
  }

  /** The ranks have ended: what they have not read is of use to nobody. */
  discard(): void {
    if (this.#discarded !== null) return;
    this.remove();
    this.#discarded = this.length;
    rmSync(this.#directory, { recursive: true, force: true });
    for (const listener of this.listeners) listener();
  }

  #slowest(): number {
    let slowest = Infinity;
    for (const reader of this.#readers.values())
      if (!reader.done) slowest = Math.min(slowest, reader.position);
    if (slowest !== Infinity) return slowest;
    return this.#readers.size === 0 ? 0 : this.length;
  }

  #punch(): void {
    const unread = Math.min(this.#slowest(), this.length, this.#kept);
    const upTo = Math.floor((unread - pipeBytes) / punchBytes) * punchBytes;
    if (upTo <= this.#punched) return;
    const fd = openSync(this.path, 'r+');
    try {
      this.#native.fallocatePunchHole(fd, BigInt(this.#punched), BigInt(upTo - this.#punched));
      this.#punched = upTo;
    } finally {
      closeSync(fd);
    }
  }
}

/** The pump of all sandboxes of the agent, and who hears of which id. */
export class InputSpools {
  readonly pump: InputPump;
  readonly #owners = new Map<number, { spool: InputSpool; onDone: (readerGone: boolean) => void }>();
  #lastId = 0;

  constructor(native: Native) {
    this.pump = native.inputPump();
    this.pump.onProgress = (records) => {
      for (let at = 0; at + recordBytes <= records.length; at += recordBytes) {
        const id = records.readUInt32LE(at);
        const flags = records.readUInt32LE(at + 4);
        const owner = this.#owners.get(id);
        if (!owner) continue;
        const gone = (flags & flagError) !== 0;
        const finished = gone || (flags & flagDone) !== 0;
        owner.spool.progress(id, Number(records.readBigUInt64LE(at + 8)), finished, gone);
        if (!finished) continue;
        this.#owners.delete(id);
        owner.onDone(gone);
      }
    };
  }

  attach(
    spool: InputSpool,
    spoolFd: number,
    pipeFd: number,
    position: number,
    onDone: (readerGone: boolean) => void,
  ): void {
    const id = ++this.#lastId;
    this.#owners.set(id, { spool, onDone });
    spool.attach(id, spoolFd, pipeFd, { position });
  }

  /** Delivers nothing more of this spool, and closes what it held, until it is attached anew. */
  pause(spool: InputSpool): void {
    for (const id of spool.pause()) this.#owners.delete(id);
  }

  close(): void {
    this.pump.close();
  }
}
