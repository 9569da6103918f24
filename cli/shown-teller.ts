/**
 * Tells the control plane what a reader of output has written out, for groups whose ranks wait for it. One request at a time,
 * the newest positions each; one that fails is told again, until the server says that nobody waits for this reader. It knows
 * neither where output comes from nor where it goes.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { isStoreError } from '../store/object-store.ts';
import { formatPositions } from '../wire/log-frames.ts';

export class ShownTeller {
  readonly #send: (positions: string) => Promise<unknown>;
  readonly #retryMs: number;
  readonly #news = new Map<string, number>();
  #telling = false;
  #over = false;

  constructor(send: (positions: string) => Promise<unknown>, retryMs = 200) {
    this.#send = send;
    this.#retryMs = retryMs;
  }

  /** `key` is RANK.STREAM. */
  shown(key: string, offset: number): void {
    if (this.#over) return;
    this.#news.set(key, offset);
    if (!this.#telling) void this.#tell();
  }

  /** All of it again: the server may have been started anew. */
  again(positions: ReadonlyMap<string, number>): void {
    for (const [key, offset] of positions) this.shown(key, offset);
  }

  end(): void {
    this.#over = true;
    this.#news.clear();
  }

  async #tell(): Promise<void> {
    this.#telling = true;
    while (this.#news.size > 0) {
      const positions = new Map(this.#news);
      this.#news.clear();
      try {
        await this.#send(formatPositions(positions));
      } catch (error) {
        if (isStoreError(error) && !isStoreError(error, 'Unavailable')) this.end();
        if (this.#over) break;
        for (const [key, offset] of positions) if (!this.#news.has(key)) this.#news.set(key, offset);
        await pause(this.#retryMs);
      }
    }
    this.#telling = false;
  }
}
