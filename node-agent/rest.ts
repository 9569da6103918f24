// An agent that has nothing to do: once it has been so for a while it gives back memory that only its start, or the jobs before, have
// needed. It decides when; what is given back is the native module's to know.
import type { Native } from '../native/addon/index.ts';

const restAfterMs = 10_000;

export class Rest implements Disposable {
  readonly #native: Pick<Native, 'giveBackMemory'>;
  readonly #isIdle: () => boolean;
  #timer: NodeJS.Timeout | null = null;

  constructor(native: Pick<Native, 'giveBackMemory'>, isIdle: () => boolean) {
    this.#native = native;
    this.#isIdle = isIdle;
  }

  /** From now on, unless there is something to do. */
  begin(): void {
    if (this.#timer) this.#timer.refresh();
    else this.#timer = setTimeout(() => this.#rest(), restAfterMs).unref();
  }

  [Symbol.dispose](): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #rest(): void {
    if (this.#isIdle()) this.#native.giveBackMemory();
    else this.begin();
  }
}
