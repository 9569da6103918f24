/**
 * Keys that want work. A key is dirty (wants work), active (is being worked on) or delayed (will want work later);
 * many additions of a key before it is taken are one, and a key that is added while active comes again when that is
 * done, so no two workers ever have the same key. What is late comes after all that is not. Knows nothing of what the work is.
 */
import type { Clock, Timer } from './clock.ts';
import type { Key } from './reconciler.ts';

export class WorkQueue {
  readonly #clock: Clock;
  readonly #ready = new Set<Key>();
  /** Taken when nothing else is ready. */
  readonly #late = new Set<Key>();
  readonly #active = new Set<Key>();
  readonly #again = new Set<Key>();
  readonly #delayed = new Map<Key, Timer>();
  readonly #takers: ((key: Key | undefined) => void)[] = [];
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(key: Key): void {
    if (this.#closed) return;
    if (this.#active.has(key)) this.#again.add(key);
    else if (!this.#ready.has(key)) {
      this.#late.delete(key);
      const taker = this.#takers.shift();
      if (taker) taker(this.#activate(key));
      else this.#ready.add(key);
    }
  }

  /** Work that others need not wait for. */
  addLate(key: Key): void {
    if (this.#takers.length > 0 || this.#active.has(key)) this.add(key);
    else if (!this.#closed && !this.#ready.has(key)) this.#late.add(key);
  }

  /** Of several delays of a key the earliest counts. */
  addAfter(key: Key, delayMs: number): void {
    if (this.#closed) return;
    if (delayMs <= 0) return this.add(key);
    const dueMs = this.#clock.steady() + delayMs;
    const before = this.#delayed.get(key);
    if (before && before.dueMs <= dueMs) return;
    before?.[Symbol.dispose]();
    const timer = this.#clock.after(delayMs, () => {
      this.#delayed.delete(key);
      this.add(key);
    });
    this.#delayed.set(key, timer);
  }

  /** The next key to work on; undefined once the queue is closed. Whoever takes a key calls `done` with it. */
  async take(): Promise<Key | undefined> {
    if (this.#closed) return undefined;
    for (const keys of [this.#ready, this.#late]) {
      const key = keys.values().next().value;
      if (key === undefined) continue;
      keys.delete(key);
      return this.#activate(key);
    }
    return new Promise((resolve) => this.#takers.push(resolve));
  }

  done(key: Key): void {
    this.#active.delete(key);
    if (this.#again.delete(key)) this.add(key);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#delayed.values()) timer[Symbol.dispose]();
    this.#delayed.clear();
    this.#ready.clear();
    this.#late.clear();
    this.#again.clear();
    for (const taker of this.#takers.splice(0)) taker(undefined);
  }

  get size(): { readonly dirty: number; readonly active: number; readonly delayed: number } {
    return {
      dirty: this.#ready.size + this.#late.size + this.#again.size,
      active: this.#active.size,
      delayed: this.#delayed.size,
    };
  }

  /** Work that begins now answers whatever a delay was waiting for. */
  #activate(key: Key): Key {
    this.#active.add(key);
    this.#delayed.get(key)?.[Symbol.dispose]();
    this.#delayed.delete(key);
    return key;
  }
}
