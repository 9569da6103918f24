// One output stream of one rank as it lies on disk: segments `<rank>.<out|err>.<first offset>`, contiguous, each holding the
// stream's bytes from its first offset on. The files' lengths are the truth; what is kept in memory is only a reading of
// them. It knows who writes no more than who reads: the pump appends, readers and fronts copy at offsets of their own.
import { closeSync, openSync, readdirSync, readSync, statSync, unlinkSync } from 'node:fs';
import { errnoOf } from './agent-error.ts';

export type StreamNumber = 1 | 2;

const segmentName = /^(\d+)\.(out|err)\.(\d{20})$/;

export function streamName(rank: number, stream: StreamNumber): string {
  return `${String(rank)}.${stream === 1 ? 'out' : 'err'}`;
}

export class LogStream {
  readonly rank: number;
  readonly stream: StreamNumber;
  /** Number under which the pump and fronts know it. */
  readonly id: number;
  readonly directory: string;
  /** First offsets of the segments that are kept, ascending. */
  readonly segments: number[];
  /** Bytes spooled since the rank began. */
  length: number;
  ended: boolean;

  constructor(
    id: number,
    directory: string,
    rank: number,
    stream: StreamNumber,
    segments: number[],
    length: number,
    ended: boolean,
  ) {
    this.id = id;
    this.directory = directory;
    this.rank = rank;
    this.stream = stream;
    this.segments = segments;
    this.length = length;
    this.ended = ended;
  }

  /** Offset of the first byte that is kept. */
  get first(): number {
    return this.segments[0] ?? this.length;
  }

  pathOf(segment: number): string {
    return `${this.directory}/${streamName(this.rank, this.stream)}.${String(segment).padStart(20, '0')}`;
  }

  /** Takes a new length into account; returns the segments that have come with it. */
  grownTo(length: number): number[] {
    const added: number[] = [];
    let last = this.segments.at(-1);
    if (last === undefined && length > this.length) {
      last = this.length;
      this.segments.push(last);
      added.push(last);
    }
    while (last !== undefined) {
      const end: number = last + sizeOf(this.pathOf(last));
      if (end <= last || end >= length) break;
      last = end;
      this.segments.push(last);
      added.push(last);
    }
    this.length = Math.max(this.length, length);
    return added;
  }

  /**
   * Deletes the oldest segments until at most `quota` bytes are kept, but none that reaches beyond `upTo`; the newest always
   * stays. Returns bytes deleted.
   */
  trim(quota: number, upTo = Infinity): number {
    let deleted = 0;
    while (this.segments.length > 1 && this.length - this.first > quota) {
      const [oldest = 0, next = 0] = this.segments;
      if (next > upTo) break;
      unlinkSync(this.pathOf(oldest));
      this.segments.shift();
      deleted += next - oldest;
    }
    return deleted;
  }

  /** Reads from `offset`, at most to the end of its segment. An offset that is deleted already reads from the first kept. */
  read(offset: number, maxBytes: number): { offset: number; data: Buffer } {
    const from = Math.max(offset, this.first);
    const index = this.segments.findLastIndex((first) => first <= from);
    const segment = this.segments[index];
    if (segment === undefined || from >= this.length) return { offset: from, data: Buffer.alloc(0) };
    const end = this.segments[index + 1] ?? this.length;
    const fd = openSync(this.pathOf(segment), 'r');
    try {
      const data = Buffer.allocUnsafe(Math.min(maxBytes, end - from));
      const count = readSync(fd, data, 0, data.length, from - segment);
      return { offset: from, data: data.subarray(0, count) };
    } finally {
      closeSync(fd);
    }
  }

  /** Where the last `lines` lines begin; looks back at most 64 MiB. */
  tailOffset(lines: number): number {
    if (lines <= 0) return this.length;
    const step = 65_536;
    let seen = 0;
    for (let end = this.length; end > Math.max(this.first, this.length - (64 << 20));) {
      const start = Math.max(this.first, end - step);
      const parts: Buffer[] = [];
      for (let at = start; at < end;) {
        const { data } = this.read(at, end - at);
        if (data.length === 0) break;
        parts.push(data);
        at += data.length;
      }
      const block = Buffer.concat(parts);
      for (let at = block.length - 1; at >= 0; at--) {
        // The newline that ends the last line is not one before it.
        if (block[at] === 10 && start + at + 1 < this.length && ++seen === lines) return start + at + 1;
      }
      end = start;
    }
    return this.first;
  }
}

/** The streams that a directory of logs holds, by name. */
export function scanLogs(
  directory: string,
): Map<string, { rank: number; stream: StreamNumber; segments: number[]; length: number }> {
  const streams = new Map<
    string,
    { rank: number; stream: StreamNumber; segments: number[]; length: number }
  >();
  let names: string[];
  try {
    names = readdirSync(directory).sort();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    names = [];
  }
  for (const name of names) {
    const match = segmentName.exec(name);
    if (!match) continue;
    const [, rank = '', kind = '', first = ''] = match;
    const key = `${rank}.${kind}`;
    const entry = streams.get(key) ?? {
      rank: Number(rank),
      stream: kind === 'out' ? (1 as const) : (2 as const),
      segments: [],
      length: 0,
    };
    streams.set(key, entry);
    entry.segments.push(Number(first));
    entry.length = Math.max(entry.length, Number(first) + sizeOf(`${directory}/${name}`));
  }
  return streams;
}

export function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw error;
  }
}
