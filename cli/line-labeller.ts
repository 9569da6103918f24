/**
 * Writes log frames to this process's stdout and stderr: as they come, or line by line with the rank before each line, never a
 * torn one. Waits for a slow terminal, so memory stays bounded.
 */
import { once } from 'node:events';
import type { LogFrame } from '../wire/log-frames.ts';

const longestLine = 64 * 1024;
const newline = 10;

export class LineLabeller {
  readonly #label: boolean;
  readonly #partial = new Map<string, Buffer>();

  constructor(label: boolean) {
    this.#label = label;
  }

  async write(frame: LogFrame): Promise<void> {
    if (frame.error) return emit(2, Buffer.from(`muster: ${frame.bytes.toString('utf8')}\n`));
    if (!this.#label) return emit(frame.stream, frame.bytes);
    const key = `${frame.rank}.${frame.stream}`;
    const before = this.#partial.get(key);
    const bytes = before ? Buffer.concat([before, frame.bytes]) : frame.bytes;
    const last = bytes.lastIndexOf(newline);
    const cut = last < 0 && bytes.length > longestLine ? bytes.length : last + 1;
    if (cut > 0) await emit(frame.stream, labelled(frame.rank, bytes.subarray(0, cut)));
    if (cut < bytes.length) this.#partial.set(key, Buffer.from(bytes.subarray(cut)));
    else this.#partial.delete(key);
    if (frame.end) await this.#flush(key);
  }

  async end(): Promise<void> {
    for (const key of [...this.#partial.keys()]) await this.#flush(key);
  }

  async #flush(key: string): Promise<void> {
    const rest = this.#partial.get(key);
    if (!rest) return;
    this.#partial.delete(key);
    const [rank, stream] = key.split('.');
    await emit(Number(stream), labelled(Number(rank), rest));
  }
}

/** Whole lines (the last may lack its newline and gets one), each with `[rank] `. */
function labelled(rank: number, bytes: Buffer): Buffer {
  const prefix = Buffer.from(`[${rank}] `);
  const pieces: Buffer[] = [];
  let from = 0;
  while (from < bytes.length) {
    const at = bytes.indexOf(newline, from);
    const to = at < 0 ? bytes.length : at + 1;
    pieces.push(prefix, bytes.subarray(from, to));
    from = to;
  }
  if (bytes[bytes.length - 1] !== newline) pieces.push(Buffer.from('\n'));
  return Buffer.concat(pieces);
}

async function emit(stream: number, bytes: Buffer): Promise<void> {
  const out = stream === 2 ? process.stderr : process.stdout;
  if (!out.write(bytes)) await once(out, 'drain');
}
