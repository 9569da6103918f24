// native/tracker on the node that a sandbox leaves: copies the memory of its processes while they run, then what they have written since,
// into the image; and tells beforehand how much they write. The file grows only, so that it can be sent meanwhile. It knows no protocol.
import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { existsSync, rmSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import type { Image } from '../checkpoint/image.ts';
import { pagesTable, writeTable } from './pager.ts';

/** Memory that was copied before its processes stood still, and where in it each page is. */
export const copiedPages = 'copied.pages';
const copiedIndex = 'copied.index';

/** Less is not worth another round: it is copied in less time than a freeze takes. */
const smallBytes = 16 << 20;
/** What is written while it is copied shrinks no more. */
const shrinksTo = 0.7;
const mostRounds = 8;
const sampleMs = 300;
const sampledWithinMs = 20_000;

/** Most of the image is in these, and comes before the rest of it. */
export const hasCopies = (image: Image): boolean => existsSync(image.pathOf(copiedIndex));

/** How much room copies of several rounds may take. */
export const roomForCopies = (memoryBytes: number): number => memoryBytes * 2 + 2 * smallBytes;

/** Why memory cannot be copied before ranks stand still; null: it can. Tried, not assumed. */
export function trackerTrouble(nativeDir: string): string | null {
  const { status, stderr, error } = spawnSync(`${nativeDir}/tracker`, ['--probe'], { encoding: 'utf8' });
  if (status === 0) return null;
  return `pages that ranks write cannot be tracked here: ${error?.message ?? stderr.trim()}`;
}

/** Of these processes, by a sample of their memory; at least so much, since a page counts once. 0: it cannot be said. */
export async function dirtyBytesPerSecond(
  nativeDir: string,
  pids: readonly number[],
  signal: AbortSignal,
): Promise<number> {
  const child = spawn(`${nativeDir}/tracker`, ['--rate', String(sampleMs), ...pids.map(String)], {
    stdio: ['ignore', 'pipe', 'ignore'],
    signal: AbortSignal.any([signal, AbortSignal.timeout(sampledWithinMs)]),
  });
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  await once(child, 'close');
  const written = /^\d+ (\d+)$/m.exec(text)?.[1];
  return written === undefined ? 0 : Math.max(1, Math.round((Number(written) * 1000) / sampleMs));
}

/** Whether another round is of use, by what each has copied. */
export function isEnough(copied: readonly number[], roomBytes: number): boolean {
  const [last = 0, before = Infinity] = copied.toReversed();
  const all = copied.reduce((sum, each) => sum + each, 0);
  const isLittle = last <= smallBytes || last > before * shrinksTo;
  return isLittle || copied.length >= mostRounds || all + last / 2 > roomBytes;
}

/** Of one sandbox, from the first round until all is copied. Ends whatever watches its processes when it is disposed of. */
export class Copier implements Disposable {
  readonly #image: Image;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #lines: AsyncIterator<string>;
  #complaint = '';
  /** Of the file, so far. */
  bytes = 0;

  constructor(nativeDir: string, image: Image) {
    this.#image = image;
    this.#child = spawn(`${nativeDir}/tracker`, [image.path], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.on('error', (error) => (this.#complaint = error.message));
    this.#child.stdin.on('error', () => undefined); // it has ended, and has said why
    this.#child.stderr.on('data', (bytes: Buffer) => (this.#complaint += bytes.toString()));
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** They run. Gives how much was copied. */
  round(pids: readonly number[]): Promise<number> {
    return this.#order(`round ${pids.join(' ')}`);
  }

  /** They stand still, and are watched no more. */
  last(pids: readonly number[]): Promise<number> {
    return this.#order(`last ${pids.join(' ')}`);
  }

  /** What the engine has left out of the image, and nobody has copied. */
  async rest(): Promise<number> {
    writeTable(this.#image);
    const bytes = await this.#order('rest');
    rmSync(this.#image.pathOf(pagesTable));
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }

  async #order(line: string): Promise<number> {
    this.#child.stdin.write(`${line}\n`);
    const answer = await this.#lines.next();
    const bytes = answer.done === true ? undefined : /^copied (\d+)$/.exec(answer.value)?.[1];
    if (bytes === undefined)
      throw new Error(`MUSTER_COPY_FAILED: memory not copied: ${this.#complaint.trim()}`);
    this.bytes += Number(bytes);
    return Number(bytes);
  }
}
