/**
 * The end of a group's output, out of the frames that the API tells it in (wire/log-frames.ts): whole lines with their rank, the last
 * few of them. Pure; bytes come in any pieces.
 */
export interface LogLine {
  readonly rank: number;
  readonly isError: boolean;
  readonly text: string;
  /** Counts up; for lists that keep their place. */
  readonly id: number;
}

const headerBytes = 24;
const longestFrame = 4 * 1024 * 1024;
const longestLine = 2000;

export class LogLines {
  readonly #most: number;
  #bytes = new Uint8Array(0);
  #lines: LogLine[] = [];
  readonly #open = new Map<string, { readonly decoder: InstanceType<typeof TextDecoder>; text: string }>();
  #next = 1;
  #ended = false;

  constructor(most = 1000) {
    this.#most = most;
  }

  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  /** Every rank's output has ended and was told. */
  get ended(): boolean {
    return this.#ended;
  }

  push(bytes: Uint8Array): void {
    let all = bytes;
    if (this.#bytes.length > 0) {
      all = new Uint8Array(this.#bytes.length + bytes.length);
      all.set(this.#bytes);
      all.set(bytes, this.#bytes.length);
    }
    let at = 0;
    const made: LogLine[] = [];
    while (all.length - at >= headerBytes) {
      const header = new DataView(all.buffer, all.byteOffset + at, headerBytes);
      const length = header.getUint32(0, true);
      if (length > longestFrame) throw new Error(`MUSTER_LOG_FRAME: a frame of ${length} bytes`);
      if (all.length - at < headerBytes + length) break;
      const data = all.subarray(at + headerBytes, at + headerBytes + length);
      this.#frame(header.getUint32(4, true), header.getUint8(8), header.getUint8(9), data, made);
      at += headerBytes + length;
    }
    this.#bytes = all.slice(at);
    if (made.length > 0) this.#lines = [...this.#lines, ...made].slice(-this.#most);
  }

  #frame(rank: number, stream: number, flags: number, data: Uint8Array, made: LogLine[]): void {
    const isNobody = rank === 0xffffffff;
    if (isNobody && (flags & 1) !== 0) this.#ended = true;
    if ((flags & 2) !== 0) return this.#line(-1, true, new TextDecoder().decode(data), made);
    if (isNobody) return;
    const key = `${rank}.${stream}`;
    const open = this.#open.get(key) ?? { decoder: new TextDecoder(), text: '' };
    this.#open.set(key, open);
    const lines = (open.text + open.decoder.decode(data, { stream: true })).split('\n');
    open.text = (lines.pop() ?? '').slice(-longestLine);
    for (const text of lines) this.#line(rank, stream === 2, text, made);
    if ((flags & 1) === 0) return;
    if (open.text !== '') this.#line(rank, stream === 2, open.text, made);
    this.#open.delete(key);
  }

  #line(rank: number, isError: boolean, text: string, made: LogLine[]): void {
    made.push({ rank, isError, text: text.slice(0, longestLine).replace(/\r$/, ''), id: this.#next++ });
    // A long output at once is not kept to be thrown away.
    if (made.length > 2 * this.#most) made.splice(0, made.length - this.#most);
  }
}
