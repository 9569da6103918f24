/**
 * Follows the feed and keeps what it tells. A connection that breaks, or over which nothing comes, is made anew and goes on at the
 * last event; what is kept is what the server shows, so it does not grow with time.
 */
import { EventReader, foldFeed, type FeedItem, type FeedMessage } from '../wire/page-feed.ts';
import { ask, refusalOf } from './session.ts';

export type Connection =
  | { readonly state: 'connecting' | 'live' }
  | { readonly state: 'lost'; readonly sinceMs: number }
  | { readonly state: 'refused'; readonly why: string; readonly needsLogin: boolean };

/** The server says something every fifteen seconds. */
const silentMs = 40_000;
const leastWaitMs = 500;
const longestWaitMs = 10_000;

export class FeedClient {
  readonly items = new Map<string, FeedItem>();
  connection: Connection = { state: 'connecting' };
  /** What is to be added to this machine's clock to get the server's. */
  offsetMs = 0;
  readonly #changed: () => void;
  #after = '';

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  async run(signal: AbortSignal): Promise<void> {
    let waitMs = leastWaitMs;
    while (!signal.aborted) {
      try {
        await this.#read(signal, () => (waitMs = leastWaitMs));
      } catch {
        // A connection that broke is only taken up again.
      }
      if (signal.aborted) return;
      if (this.connection.state === 'live' || this.connection.state === 'connecting') {
        this.connection = { state: 'lost', sinceMs: Date.now() };
        this.#changed();
      }
      await new Promise((resolve) => setTimeout(resolve, waitMs * (0.75 + Math.random() / 2)));
      waitMs = Math.min(longestWaitMs, waitMs * 2);
    }
  }

  async #read(signal: AbortSignal, succeeded: () => void): Promise<void> {
    const silent = new AbortController();
    let timer = setTimeout(() => silent.abort(), silentMs);
    try {
      const answer = await ask(
        `dashboardfeed?watch=true&after=${encodeURIComponent(this.#after)}`,
        AbortSignal.any([signal, silent.signal]),
      );
      if (!answer.ok || !answer.body) {
        const needsLogin = answer.status === 401;
        this.connection = { state: 'refused', why: await refusalOf(answer), needsLogin };
        if (needsLogin) this.items.clear();
        return this.#changed();
      }
      const events = new EventReader();
      const decoder = new TextDecoder();
      const reader = answer.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => silent.abort(), silentMs);
        for (const { id, data } of events.push(decoder.decode(value, { stream: true }))) {
          const message = JSON.parse(data) as FeedMessage;
          foldFeed(this.items, message);
          this.offsetMs = message.nowMs - Date.now();
          if (message.more) continue;
          this.#after = id;
          this.connection = { state: 'live' };
          succeeded();
          this.#changed();
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
