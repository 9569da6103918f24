// Many output streams into one, line by line: whole lines, each behind the label of its source.
//
// A line of one source is never torn by another's. What of a line has not ended yet is held back, up to a bound; a
// longer line goes out in pieces, whole each, and is continued where it stopped if nobody else wrote in between, else
// on a new line behind the label again. Taking the labels away gives back each source's bytes, but for the newlines
// added in that case. It knows no clock: showing a prompt, a line without end, is the owner's decision (`flush`).

export type LineOptions = {
  /** What stands before each line of a source; '' for none. */
  readonly labelOf: (source: number) => string;
  /** Bytes of an unended line that are held back. */
  readonly lineBytes?: number;
};

type Source = { readonly label: Buffer; held: Buffer[]; heldBytes: number };

const newline = 10;
const defaultLineBytes = 64 << 10;

export class LabelledLines {
  readonly #labelOf: (source: number) => string;
  readonly #lineBytes: number;
  readonly #sources = new Map<number, Source>();
  /** The source whose unended line stands last in what was given out. */
  #open: Source | null = null;

  constructor(options: LineOptions) {
    this.#labelOf = options.labelOf;
    this.#lineBytes = options.lineBytes ?? defaultLineBytes;
  }

  /** Bytes that can go out now, in one write; empty when there are none. The chunk may be kept: do not reuse it. */
  push(number: number, chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk;
    const source = this.#source(number);
    const end = chunk.lastIndexOf(newline) + 1;
    const out: Buffer[] = [];
    if (end > 0) {
      this.#give(source, joined(source, chunk.subarray(0, end)), out);
      this.#open = null;
    }
    if (end < chunk.length) {
      source.held.push(chunk.subarray(end));
      source.heldBytes += chunk.length - end;
      if (source.heldBytes > this.#lineBytes) this.#flush(source, out);
    }
    return out.length === 1 ? (out[0] as Buffer) : Buffer.concat(out);
  }

  /** What is held back of the source's unended line. */
  flush(number: number): Buffer {
    const source = this.#sources.get(number);
    if (source === undefined) return Buffer.alloc(0);
    const out: Buffer[] = [];
    this.#flush(source, out);
    return Buffer.concat(out);
  }

  /** The source has ended: as flush, and it is forgotten. */
  end(number: number): Buffer {
    const last = this.flush(number);
    this.#sources.delete(number);
    return last;
  }

  /** Bytes held back for all sources. */
  get heldBytes(): number {
    let bytes = 0;
    for (const source of this.#sources.values()) bytes += source.heldBytes;
    return bytes;
  }

  #source(number: number): Source {
    let source = this.#sources.get(number);
    if (source === undefined) {
      source = { label: Buffer.from(this.#labelOf(number)), held: [], heldBytes: 0 };
      this.#sources.set(number, source);
    }
    return source;
  }

  #flush(source: Source, out: Buffer[]): void {
    if (source.heldBytes === 0) return;
    this.#give(source, joined(source, null), out);
    this.#open = source;
  }

  /** Lines, of which the last may be without end. */
  #give(source: Source, lines: Buffer, out: Buffer[]): void {
    const continued = this.#open === source;
    if (this.#open !== null && !continued) out.push(Buffer.from('\n'));
    out.push(labelled(lines, source.label, continued));
  }
}

/** What the source held back, with these bytes behind it. */
function joined(source: Source, rest: Buffer | null): Buffer {
  if (source.held.length === 0) return rest ?? Buffer.alloc(0);
  const parts = rest === null ? source.held : [...source.held, rest];
  source.held = [];
  source.heldBytes = 0;
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

function labelled(lines: Buffer, label: Buffer, continued: boolean): Buffer {
  if (label.length === 0) return lines;
  const starts: number[] = continued ? [] : [0];
  for (
    let at = lines.indexOf(newline) + 1;
    at > 0 && at < lines.length;
    at = lines.indexOf(newline, at) + 1
  ) {
    starts.push(at);
  }
  const out = Buffer.allocUnsafe(lines.length + starts.length * label.length);
  let from = 0;
  let to = 0;
  for (const start of starts) {
    to += lines.copy(out, to, from, start);
    to += label.copy(out, to);
    from = start;
  }
  lines.copy(out, to, from);
  return out;
}
