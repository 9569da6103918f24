/**
 * The byte stream of programs/paced.c made again, and a checker that holds what a reader got against it byte by byte: the
 * first lost, doubled or wrong byte is named with its offset. Labelled output is taken apart into its ranks' streams first.
 */
const recordBytes = 256;
const newline = 10;

function record(rank: number, stream: number, number: number): Buffer {
  const head = `${String(rank).padStart(4, '0')} ${stream} ${String(number).padStart(10, '0')} `;
  const bytes = Buffer.alloc(recordBytes, 'a'.charCodeAt(0) + ((number * 7 + rank) % 26));
  bytes.write(head, 'latin1');
  bytes[recordBytes - 1] = newline;
  return bytes;
}

/** `length` bytes of a stream from its beginning. */
export function recordsOf(rank: number, stream: number, length: number): Buffer {
  const whole = Buffer.alloc(length);
  for (let at = 0; at < length; at += recordBytes) record(rank, stream, at / recordBytes).copy(whole, at);
  return whole;
}

/** How many bytes paced writes to stderr beside so many to stdout. */
export const stderrBytesOf = (stdoutBytes: number): number =>
  Math.floor(Math.floor(stdoutBytes / 16) / recordBytes) * recordBytes;

export class StreamChecker {
  readonly #rank: number;
  readonly #stream: number;
  #expected: Buffer;
  length = 0;

  constructor(rank: number, stream: number) {
    this.#rank = rank;
    this.#stream = stream;
    this.#expected = record(rank, stream, 0);
  }

  feed(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const skip = this.length % recordBytes;
      if (skip === 0) this.#expected = record(this.#rank, this.#stream, this.length / recordBytes);
      const part = Math.min(recordBytes - skip, bytes.length - at);
      if (this.#expected.compare(bytes, at, at + part, skip, skip + part) !== 0) {
        throw new Error(
          `rank ${this.#rank}, stream ${this.#stream}: wrong from offset ${this.length} on: ` +
            `expected ${JSON.stringify(this.#expected.toString('latin1', skip, skip + 40))}, ` +
            `got ${JSON.stringify(bytes.toString('latin1', at, at + 40))}`,
        );
      }
      this.length += part;
      at += part;
    }
  }
}

/** Takes `[rank] line` apart; every line has to be whole and its rank's next one. */
export class LabelledChecker {
  readonly #stream: number;
  readonly streams = new Map<number, StreamChecker>();
  #rest = Buffer.alloc(0);

  constructor(stream: number) {
    this.#stream = stream;
  }

  feed(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let from = 0;
    for (let end = all.indexOf(newline); end >= 0; end = all.indexOf(newline, from)) {
      this.#line(all.subarray(from, end + 1));
      from = end + 1;
    }
    this.#rest = Buffer.from(all.subarray(from));
  }

  #line(line: Buffer): void {
    const close = line.indexOf('] ');
    const rank = Number(line.toString('latin1', 1, close));
    if (line[0] !== '['.charCodeAt(0) || close < 0 || !Number.isSafeInteger(rank)) {
      throw new Error(
        `stream ${this.#stream}: a line without its label: ${JSON.stringify(line.toString('latin1', 0, 60))}`,
      );
    }
    const stream = this.streams.get(rank) ?? new StreamChecker(rank, this.#stream);
    this.streams.set(rank, stream);
    stream.feed(line.subarray(close + 2));
  }

  /** Bytes seen of each rank, in order of ranks. */
  lengths(ranks: number): number[] {
    if (this.#rest.length > 0) throw new Error(`stream ${this.#stream} ends within a line`);
    return Array.from({ length: ranks }, (_, rank) => this.streams.get(rank)?.length ?? 0);
  }
}
