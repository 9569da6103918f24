/**
 * The feed of the page: server-sent events of what the picture shows, to each reader what he may list. A reader who lost the
 * connection names the last event that he has, and is told what changed since. Nothing is queued for a slow one. It ends after half
 * an hour, so that rights that were taken away count then; the page comes back by itself.
 */
import { isStoreError, StoreError } from '../../store/object-store.ts';
import type { RouteContext } from '../../store/server/routes.ts';
import { beatText, eventText } from '../../wire/page-feed.ts';
import type { Clock } from '../runtime/clock.ts';
import { pause } from '../runtime/object-source.ts';
import { verbsGroup } from '../subresources/paths.ts';
import type { News } from './ledger.ts';
import type { Picture } from './picture.ts';

export const feedResource = 'dashboardfeed';
const beatEveryMs = 15_000;
/** Between two messages, so that much that happens at once is told at once. */
const pacedMs = 200;
const longestMs = 30 * 60_000;
const largestMessage = 256 * 1024;
const mostFeeds = 256;
const mostFeedsOfOne = 16;

export interface FeedPorts {
  readonly picture: Picture;
  readonly clock: Clock;
  readonly places: FeedPlaces;
}

/** How many read at once, in all and of one user. */
export class FeedPlaces {
  readonly #taken = new Map<string, number>();
  #all = 0;

  take(user: string): Disposable {
    const own = this.#taken.get(user) ?? 0;
    if (this.#all >= mostFeeds || own >= mostFeedsOfOne) {
      throw new StoreError(
        'TooManyRequests',
        `the page is open ${this.#all} times, ${own} times by user "${user}"; at most ${mostFeeds} and ${mostFeedsOfOne} are served; close some`,
        { retryAfterSeconds: 10 },
      );
    }
    this.#all += 1;
    this.#taken.set(user, own + 1);
    return {
      [Symbol.dispose]: () => {
        this.#all -= 1;
        if (own === 0 && this.#taken.get(user) === 1) this.#taken.delete(user);
        else this.#taken.set(user, (this.#taken.get(user) ?? 1) - 1);
      },
    };
  }
}

export async function serveFeed(context: RouteContext, { picture, clock, places }: FeedPorts): Promise<void> {
  const { response, query } = context;
  await context.requireAccess({ verb: 'watch', group: verbsGroup, resource: feedResource });
  using _place = places.take(context.user.name);
  using _looking = picture.look();
  const over = new AbortController();
  using _timer = clock.after(longestMs, () => over.abort());
  const signal = AbortSignal.any([context.signal, over.signal]);
  const rights = new Rights(context);
  await picture.ready(signal);
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.flushHeaders();
  let { ledger, epoch } = picture;
  let revision = revisionOf(query.get('after'), epoch);
  while (!signal.aborted) {
    if (epoch !== picture.epoch) ({ ledger, epoch, revision } = { ...pick(picture), revision: 0 });
    await rights.learn(() => ledger.scopesSince(revision));
    const news = ledger.since(revision, (scope) => rights.maySee(scope));
    revision = news.revision;
    const isNews = news.all || news.set.length > 0 || news.gone.length > 0;
    const texts = isNews ? messagesOf(news, clock.now()) : [];
    for (const [index, text] of texts.entries()) {
      // Only who has the last part of a message has that revision.
      const id = index === texts.length - 1 ? `${epoch}.${revision}` : '';
      if (!response.write(eventText(id, text))) await drained(response, signal);
    }
    if (isNews) await pause(clock, pacedMs, signal);
    const waitedFrom = clock.steady();
    await picture.newsAfter(revision, beatEveryMs, signal);
    if (clock.steady() - waitedFrom >= beatEveryMs && !signal.aborted) response.write(beatText);
  }
  response.end();
}

const pick = ({ ledger, epoch }: Picture): Pick<Picture, 'ledger' | 'epoch'> => ({ ledger, epoch });

/** Where a reader goes on; 0: from the beginning. */
export function revisionOf(after: string | null, epoch: number): number {
  const match = /^(\d{1,15})\.(\d{1,15})$/.exec(after ?? '');
  return match && Number(match[1]) === epoch ? Number(match[2]) : 0;
}

/** FeedMessages as JSON, cut where they grow large; values are texts already. */
export function messagesOf({ set, gone, all }: News, nowMs: number): string[] {
  const parts: string[][] = [[]];
  let size = 0;
  for (const [key, text] of set) {
    if (size > largestMessage) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1)?.push(`${JSON.stringify(key)}:${text}`);
    size += text.length;
  }
  return parts.map((part, index) => {
    const isLast = index === parts.length - 1;
    return `{${all && index === 0 ? '"all":true,' : ''}${isLast ? '' : '"more":true,'}"nowMs":${nowMs},"set":{${part.join(',')}},"gone":${JSON.stringify(isLast ? gone : [])}}`;
  });
}

/** What the reader may list, asked once for each kind and namespace. */
class Rights {
  readonly #context: RouteContext;
  readonly #known = new Map<string, boolean>();

  constructor(context: RouteContext) {
    this.#context = context;
  }

  maySee(scope: string): boolean {
    return this.#known.get(scope) === true;
  }

  /** Returns when every scope is known, also of those that came while others were asked. */
  async learn(scopes: () => Iterable<string>): Promise<void> {
    for (;;) {
      const unknown = [...scopes()].filter((scope) => !this.#known.has(scope));
      if (unknown.length === 0) return;
      for (const scope of unknown) this.#known.set(scope, await this.#ask(scope));
    }
  }

  async #ask(scope: string): Promise<boolean> {
    const [resource = '', namespace] = scope.split('/');
    const group = resource === 'events' ? 'events.k8s.io' : 'muster.dev';
    try {
      await this.#context.requireAccess({ verb: 'list', group, resource, namespace });
      return true;
    } catch (error) {
      if (isStoreError(error, 'Forbidden')) return false;
      throw error;
    }
  }
}

function drained(response: RouteContext['response'], signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['drain', 'close'] as const) response.off(event, done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    for (const event of ['drain', 'close'] as const) response.once(event, done);
    signal.addEventListener('abort', done, { once: true });
  });
}
