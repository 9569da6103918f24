/**
 * Lists that are read page by page. The rest of a cut list is kept as it was, so that all pages together are one
 * snapshot; only the most recent few are kept, and a token of a forgotten one is Expired.
 */
import { randomUUID } from 'node:crypto';
import type { ObjectList } from './object-store.ts';
import { StoreError } from './store-error.ts';

interface Rest<T> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
}

const kept = 32;

export class Pages<T> {
  readonly #rests = new Map<string, Rest<T>>();

  first(items: readonly T[], resourceVersion: string, limit: number | undefined): ObjectList<T> {
    return this.#page(items, resourceVersion, limit);
  }

  next(token: string, limit: number | undefined): ObjectList<T> {
    const rest = this.#rests.get(token);
    if (!/^[0-9a-f-]{36}$/.test(token)) {
      throw new StoreError('BadRequest', `continue key is not valid: ${token.slice(0, 80)}`);
    }
    if (rest === undefined) {
      throw new StoreError(
        'Expired',
        'The continue token is too old or unknown; list again from the beginning',
      );
    }
    return this.#page(rest.items, rest.resourceVersion, limit);
  }

  #page(items: readonly T[], resourceVersion: string, limit: number | undefined): ObjectList<T> {
    if (limit === undefined || limit <= 0 || items.length <= limit) return { items, resourceVersion };
    const token = randomUUID();
    const rest = items.slice(limit);
    this.#rests.set(token, { items: rest, resourceVersion });
    for (const oldest of this.#rests.keys()) {
      if (this.#rests.size <= kept) break;
      this.#rests.delete(oldest);
    }
    return {
      items: items.slice(0, limit),
      resourceVersion,
      continue: token,
      remainingItemCount: rest.length,
    };
  }
}
