// When what is over may be taken away: the kernel does that under the lock that whoever joins a sandbox to its network needs too, for ten
// milliseconds and more. So removals wait for a moment without launches, together, but not for long.
const lullMs = 60;
const mostMs = 500;

export class Lull {
  #launches = 0;
  #beganMs = 0;
  #next: PromiseWithResolvers<void> | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** Runs what others are to wait for. */
  async during<T>(launch: () => Promise<T>): Promise<T> {
    this.#launches += 1;
    try {
      return await launch();
    } finally {
      this.#launches -= 1;
      this.#lookAgain();
    }
  }

  /** Resolves at the next such moment, for all that wait for it. */
  wait(): Promise<void> {
    if (!this.#next) {
      this.#next = Promise.withResolvers();
      this.#beganMs = performance.now();
      this.#lookAgain();
    }
    return this.#next.promise;
  }

  #lookAgain(): void {
    if (!this.#next) return;
    if (this.#timer) clearTimeout(this.#timer);
    const leftMs = this.#beganMs + mostMs - performance.now();
    const waitMs = this.#launches > 0 ? leftMs : Math.min(lullMs, leftMs);
    this.#timer = setTimeout(() => this.come(), Math.max(0, waitMs));
  }

  /** It is there, whatever is launched: nobody waits any more. */
  come(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#next?.resolve();
    this.#next = null;
  }
}
