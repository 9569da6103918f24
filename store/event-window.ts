/**
 * The last few thousand changes of one kind, which every watch of that kind reads at its own pace. A watch holds no
 * queue of its own, only a position: a reader that falls out of the window gets Expired and lists again, so a slow
 * reader costs nobody memory.
 */
import type { StoredObject } from './transition.ts';

export interface StoredEvent {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: StoredObject;
  /** The object before, to tell who enters and who leaves a selection. */
  readonly previous: StoredObject | undefined;
}

export class EventWindow {
  readonly #limit: number;
  #events: StoredEvent[] = [];
  /** The position of `#events[0]`, counted from the beginning of time. */
  #first = 0;
  /** Everything after this version is still here. */
  #floor: number;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number, floor: number) {
    this.#limit = limit;
    this.#floor = floor;
  }

  get end(): number {
    return this.#first + this.#events.length;
  }

  /** Forgets everything before; watches from an older version are Expired. */
  restart(floor: number): void {
    this.#first += this.#events.length;
    this.#events = [];
    this.#floor = floor;
  }

  push(event: StoredEvent): void {
    this.#events.push(event);
    if (this.#events.length >= 2 * this.#limit) {
      const cut = this.#events.length - this.#limit;
      this.#floor = this.#events[cut - 1]!.version;
      this.#events = this.#events.slice(cut);
      this.#first += cut;
    }
  }

  /** Tells the waiting watches; apart from `push` so that one batch wakes them once. */
  wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const go of waiting) go();
  }

  /** The position of the first event after a version; undefined when that is too long ago. */
  positionAfter(version: number): number | undefined {
    if (version < this.#floor) return undefined;
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#events[middle]!.version <= version) low = middle + 1;
      else high = middle;
    }
    return this.#first + low;
  }

  /** The events from a position on; undefined when they are no longer all here. */
  from(position: number): readonly StoredEvent[] | undefined {
    if (position < this.#first) return undefined;
    return this.#events.slice(position - this.#first);
  }

  /** Calls once, at the next wake. */
  onWake(go: () => void): () => void {
    this.#waiting.add(go);
    return () => this.#waiting.delete(go);
  }
}
