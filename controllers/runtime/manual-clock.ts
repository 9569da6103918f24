/**
 * A Clock whose time passes only when told, for tests of anything that waits. Both its times move together; timers
 * fall due in order, each with the clock standing at its own time.
 */
import type { Clock, Timer } from './clock.ts';

interface Entry extends Timer {
  readonly then: () => void;
}

export class ManualClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<Entry>();

  constructor(nowMs = Date.parse('2026-01-01T00:00:00Z')) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  steady(): number {
    return this.#nowMs;
  }

  after(delayMs: number, then: () => void): Timer {
    const entry: Entry = {
      dueMs: this.#nowMs + Math.max(0, delayMs),
      then,
      [Symbol.dispose]: () => void this.#timers.delete(entry),
    };
    this.#timers.add(entry);
    return entry;
  }

  get pending(): number {
    return this.#timers.size;
  }

  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const due = [...this.#timers]
        .filter((timer) => timer.dueMs <= endMs)
        .sort((a, b) => a.dueMs - b.dueMs)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.#nowMs = Math.max(this.#nowMs, due.dueMs);
      due.then();
    }
    this.#nowMs = endMs;
  }
}
