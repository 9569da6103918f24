// Digests of files, taken in threads of their own: of a large image they take seconds, for which the agent has ranks to
// serve. No link is followed. A thread is there while something is to be done, and does one file at a time; there are as many as leave
// a processor to whoever else is at work. Of a file that is small the digest takes less than to ask a thread for it.
import { hash } from 'node:crypto';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

export interface Digest {
  readonly bytes: number;
  readonly sha256: string;
}

interface Answer {
  readonly id: number;
  readonly digest?: Digest;
  readonly code?: string;
  readonly message?: string;
}

/** As text, so that it is the same from source and from a bundle. */
const program = `
const { parentPort } = require('node:worker_threads');
const { createHash } = require('node:crypto');
const { openSync, readSync, fsyncSync, closeSync, constants } = require('node:fs');
const buffer = Buffer.allocUnsafe(1 << 20);
parentPort.on('message', ({ id, path, sync, cancelled }) => {
  const stopped = new Int32Array(cancelled);
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const hash = createHash('sha256');
      let bytes = 0;
      for (let read; (read = readSync(fd, buffer, 0, buffer.length, bytes)) > 0 && Atomics.load(stopped, 0) === 0;) {
        hash.update(buffer.subarray(0, read));
        bytes += read;
      }
      if (sync) fsyncSync(fd);
      parentPort.postMessage({ id, digest: { bytes, sha256: hash.digest('hex') } });
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    parentPort.postMessage({ id, code: error.code, message: error.message });
  }
});
`;

const idleAfterMs = 5000;
const smallFile = Buffer.alloc(64 * 1024);

class DigestThread {
  #worker: Worker | null = null;
  #idle: NodeJS.Timeout | undefined;
  #lastId = 0;
  readonly #waiting = new Map<number, (answer: Answer) => void>();

  get waiting(): number {
    return this.#waiting.size;
  }

  async digest(path: string, sync: boolean, signal: AbortSignal): Promise<Digest> {
    signal.throwIfAborted();
    const id = ++this.#lastId;
    const cancelled = new SharedArrayBuffer(4);
    const cancel = () => {
      Atomics.store(new Int32Array(cancelled), 0, 1);
    };
    signal.addEventListener('abort', cancel);
    try {
      const answer = await new Promise<Answer>((resolve) => {
        this.#waiting.set(id, resolve);
        this.#thread().postMessage({ id, path, sync, cancelled });
      });
      signal.throwIfAborted();
      if (answer.digest) return answer.digest;
      throw Object.assign(new Error(answer.message ?? 'no digest'), { code: answer.code });
    } finally {
      signal.removeEventListener('abort', cancel);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#rest();
    }
  }

  #thread(): Worker {
    clearTimeout(this.#idle);
    if (this.#worker) return this.#worker;
    const worker = new Worker(program, { eval: true, stdout: false, stderr: false, execArgv: [] });
    worker.unref();
    const gone = (why: string) => {
      if (this.#worker !== worker) return;
      this.#worker = null;
      for (const [id, answer] of this.#waiting) answer({ id, message: why });
    };
    worker.on('message', (answer: Answer) => this.#waiting.get(answer.id)?.(answer));
    worker.on('error', (error) => {
      gone(error.message);
    });
    worker.on('exit', () => {
      gone('the thread that takes digests has ended');
    });
    this.#worker = worker;
    return worker;
  }

  #rest(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      const worker = this.#worker;
      this.#worker = null;
      void worker?.terminate();
    }, idleAfterMs);
    this.#idle.unref();
  }
}

const mostThreads = 4;
const threads = Array.from(
  { length: Math.max(1, Math.min(mostThreads, availableParallelism() - 1)) },
  () => new DigestThread(),
);

/** Null: it is larger. */
function digestOfSmall(path: string): Digest | null {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    let bytes = 0;
    for (let read; (read = readSync(fd, smallFile, bytes, smallFile.length - bytes, bytes)) > 0;)
      bytes += read;
    return bytes === smallFile.length
      ? null
      : { bytes, sha256: hash('sha256', smallFile.subarray(0, bytes)) };
  } finally {
    closeSync(fd);
  }
}

/** With `sync` the file is on the disk afterwards. */
export async function digestFile(path: string, signal: AbortSignal, sync = false): Promise<Digest> {
  signal.throwIfAborted();
  const small = sync ? null : digestOfSmall(path); // what waits for the disk is a thread's
  if (small) return small;
  const idlest = threads.reduce((best, each) => (each.waiting < best.waiting ? each : best));
  return idlest.digest(path, sync, signal);
}
