// A file of the kernel's that is read again and again: opened once, read from its beginning into one buffer that all of them
// share. A file that is not there, or vanishes between two readings, is null and no trouble: it is tried again the next time.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

const buffer = Buffer.allocUnsafe(256 * 1024);

export class KernelFile implements Disposable {
  readonly path: string;
  #fd: number | null = null;

  constructor(path: string) {
    this.path = path;
  }

  read(): string | null {
    try {
      this.#fd ??= openSync(this.path, 'r');
      let length = 0;
      for (;;) {
        const count = readSync(this.#fd, buffer, length, buffer.length - length, length);
        length += count;
        // The kernel gives a small file at once; a long one by pages, each shorter than what was asked for.
        if (count === 0 || length === buffer.length || (length === count && count < 3072)) break;
      }
      return buffer.toString('latin1', 0, length);
    } catch {
      this[Symbol.dispose]();
      return null;
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }
}

/** Of a file that is read once, or of a process that may end meanwhile: null when it is not there. */
export function readOnce(path: string): string | null {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return null;
  }
}
