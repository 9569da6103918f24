// Output of ranks into log segments. The moving is done by the native pump's thread; here stands what it spools where, how
// long each stream has become, what is deleted when a quota is reached, and who wants to hear of growth. One spool serves
// all sandboxes of the agent, so stream numbers are unique in it.
import type { Native, OutputPump } from '../native/addon/index.ts';
import type { Logger } from 'pino';
import { errnoText } from './start-failure.ts';
import { LogStream, scanLogs, streamName, type StreamNumber } from './log-stream.ts';

const recordBytes = 24;
const flagEnd = 1;
const flagError = 2;

/** The streams of one sandbox. `onGrow` listeners hear of every change of any of them, coalesced. */
export class SandboxLogs {
  readonly directory: string;
  readonly streams: LogStream[] = [];
  readonly listeners = new Set<(stream: LogStream, newSegments: readonly number[]) => void>();
  /** Told when streams have been added. */
  readonly onStreams = new Set<() => void>();
  /** Told once nothing is added any more, also of a sandbox that never had a stream. */
  readonly onComplete = new Set<() => void>();
  /** Every stream of every process started has ended. */
  complete = false;
  /** They go on on another node. */
  moved = false;
  deletedBytes = 0;
  /** What is left in the pipes is spooled whether anybody has read or not: no rank runs that could add to it. */
  released = false;
  /** The last trouble with writing, or empty. */
  trouble = '';
  #scanned: ReturnType<typeof scanLogs>;

  constructor(directory: string) {
    this.directory = directory;
    this.#scanned = scanLogs(directory);
  }

  /** The files were put in place by somebody else. */
  rescan(): void {
    this.#scanned = scanLogs(this.directory);
  }

  get bytes(): number {
    return this.streams.reduce((sum, stream) => sum + stream.length, 0);
  }

  get allEnded(): boolean {
    return this.streams.every((stream) => stream.ended);
  }

  /** What is on disk of a stream, as of when this object was made. */
  onDisk(rank: number, stream: StreamNumber): { segments: number[]; length: number } {
    return this.#scanned.get(streamName(rank, stream)) ?? { segments: [], length: 0 };
  }

  /** All that is on disk, as streams that will not grow. */
  loadEnded(nextId: () => number): void {
    for (const { rank, stream, segments, length } of this.#scanned.values()) {
      if (this.streams.some((each) => each.rank === rank && each.stream === stream)) continue;
      this.streams.push(new LogStream(nextId(), this.directory, rank, stream, segments, length, true));
    }
    this.streams.sort((a, b) => a.rank - b.rank || a.stream - b.stream);
    this.finish();
  }

  /** Nothing is added any more here: whoever follows goes on where the sandbox is now. */
  move(): void {
    this.moved = true;
    this.finish();
  }

  /** Nothing is added any more: whoever follows has all there is. */
  finish(): void {
    if (this.complete) return;
    this.complete = true;
    for (const listener of [...this.onComplete]) listener();
  }
}

interface Entry {
  readonly logs: SandboxLogs;
  readonly stream: LogStream;
  readonly quotaBytes: number;
  /** Of a stream that blocks: all before this offset has been read by whom it is kept for. Null: it rotates. */
  shown: number | null;
  readonly onEnd: () => void;
}

export class OutputSpool {
  readonly pump: OutputPump;
  readonly #log: Logger;
  readonly #entries = new Map<number, Entry>();
  #lastId = 0;

  constructor(native: Native, log: Logger) {
    this.pump = native.outputPump();
    this.pump.onProgress = (records) => {
      this.#progress(records);
    };
    this.#log = log;
  }

  readonly nextId = (): number => ++this.#lastId;

  /** Takes `fd`. The stream goes on where its files end. */
  add(options: {
    logs: SandboxLogs;
    rank: number;
    stream: StreamNumber;
    fd: number;
    quotaBytes: number;
    whenFull: string;
    onEnd: () => void;
  }): LogStream {
    const { logs, rank, stream: number, fd, quotaBytes, whenFull, onEnd } = options;
    const { segments, length } = logs.onDisk(rank, number);
    const stream = new LogStream(this.nextId(), logs.directory, rank, number, segments, length, false);
    logs.streams.push(stream);
    for (const listener of logs.onStreams) listener();
    // What an earlier agent deleted had been read.
    const entry: Entry = {
      logs,
      stream,
      quotaBytes,
      shown: whenFull === 'Block' ? stream.first : null,
      onEnd,
    };
    this.#entries.set(stream.id, entry);
    this.#pumpInto(entry, fd);
    return stream;
  }

  #pumpInto(entry: Entry, fd: number): void {
    const { stream, quotaBytes } = entry;
    const segmentBytes = Math.min(16 << 20, Math.max(65_536, Math.floor(quotaBytes / 8)));
    const name = streamName(stream.rank, stream.stream);
    const length = BigInt(stream.length);
    this.pump.add(stream.id, fd, stream.directory, name, length, segmentBytes, limitOf(entry));
  }

  remove(logs: SandboxLogs): void {
    for (const stream of logs.streams) {
      if (!this.#entries.delete(stream.id)) continue;
      this.pump.remove(stream.id);
    }
  }

  /** Moves nothing more and lets go of the pipes, until `resume`: what is in them stays there. */
  pause(logs: SandboxLogs): void {
    for (const stream of logs.streams) {
      if (!this.#entries.has(stream.id)) continue;
      const length = this.pump.remove(stream.id);
      if (length !== null) stream.grownTo(Number(length));
    }
  }

  /** Takes `fd`. Goes on with a stream that was paused; false: there is none, or it has ended. */
  resume(logs: SandboxLogs, rank: number, number: StreamNumber, fd: number): boolean {
    const stream = logs.streams.find((each) => each.rank === rank && each.stream === number);
    const entry = stream && this.#entries.get(stream.id);
    if (!entry) return false;
    this.#pumpInto(entry, fd);
    return true;
  }

  /** Of a stream that blocks when full: all before this offset has been read by whom it is kept for. */
  shown(stream: LogStream, offset: number): void {
    const entry = this.#entries.get(stream.id);
    if (!entry || entry.shown === null || offset <= entry.shown) return;
    // A length that this thread has not heard of yet may have been read already.
    entry.shown = Math.min(offset, Number.MAX_SAFE_INTEGER / 2);
    this.#keepQuota(entry);
    this.pump.limit(stream.id, limitOf(entry));
  }

  /** No rank runs any more: nothing waits for a reader. */
  release(logs: SandboxLogs): void {
    if (logs.released) return;
    logs.released = true;
    for (const stream of logs.streams) {
      const entry = this.#entries.get(stream.id);
      if (entry && entry.shown !== null) this.pump.limit(stream.id, limitOf(entry));
    }
  }

  close(): void {
    this.pump.close();
  }

  #progress(records: Buffer): void {
    for (let at = 0; at + recordBytes <= records.length; at += recordBytes) {
      const entry = this.#entries.get(records.readUInt32LE(at));
      if (!entry) continue;
      const flags = records.readUInt32LE(at + 4);
      const added = entry.stream.grownTo(Number(records.readBigUInt64LE(at + 8)));
      if (flags & flagError) this.#trouble(entry, records.readInt32LE(at + 16));
      this.#keepQuota(entry);
      if (flags & flagEnd && !entry.stream.ended) {
        entry.stream.ended = true;
        this.pump.remove(entry.stream.id);
        this.#entries.delete(entry.stream.id);
      }
      for (const listener of entry.logs.listeners) listener(entry.stream, added);
      if (entry.stream.ended) entry.onEnd();
    }
  }

  #keepQuota({ stream, quotaBytes, logs, shown }: Entry): void {
    logs.deletedBytes += stream.trim(quotaBytes, shown ?? Infinity);
  }

  #trouble(entry: Entry, errno: number): void {
    const text = `MUSTER_LOG_WRITE: rank ${String(entry.stream.rank)}: cannot write ${entry.logs.directory}: ${errnoText(errno)}; the rank waits until there is room`;
    if (entry.logs.trouble !== text)
      this.#log.warn(
        { rank: entry.stream.rank, directory: entry.logs.directory, errno },
        'output cannot be spooled',
      );
    entry.logs.trouble = text;
  }
}

const unlimited = (1n << 63n) - 1n;

/** How far a stream may be spooled. */
function limitOf({ logs, shown, quotaBytes }: Entry): bigint {
  return shown === null || logs.released ? unlimited : BigInt(shown + quotaBytes);
}
