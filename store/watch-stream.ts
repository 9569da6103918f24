/**
 * One watch over an event window: which of its events concern this selection, when to send a bookmark, when it
 * ends. It reads at its own pace and never holds up the writer.
 */
import type { EventWindow, StoredEvent } from './event-window.ts';
import type { Selection } from './label-selector.ts';
import type { AnyObject, WatchEvent } from './object-store.ts';
import { apiVersionOf, type ResourceType } from './resource.ts';
import { StoreError } from './store-error.ts';

export interface WatchSource {
  readonly type: ResourceType;
  readonly window: EventWindow;
  /** The version of the last committed write. */
  version(): number;
  /** Set when the store is closed. */
  closed(): StoreError | undefined;
}

export interface StreamOptions {
  readonly position: number;
  readonly selection: Selection | undefined;
  readonly bookmarkEveryMs: number | undefined;
}

export async function* streamOf(
  source: WatchSource,
  options: StreamOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchEvent<AnyObject>, void, undefined> {
  let { position } = options;
  while (signal?.aborted !== true) {
    const events = source.window.from(position);
    if (events === undefined) throw tooSlow(source.type);
    for (const event of events) {
      position += 1;
      const seen = seenThrough(options.selection, event);
      if (seen === undefined) continue;
      yield seen;
      if (signal?.aborted) return;
    }
    if (source.window.end > position) continue;
    const closed = source.closed();
    if (closed !== undefined) throw closed;
    const version = source.version();
    const woken = await nextWake(source.window, options.bookmarkEveryMs, signal);
    if (woken === 'timeout' && source.window.end === position) yield bookmarkOf(source.type, version);
  }
}

export function bookmarkOf(
  type: ResourceType,
  version: number,
  initialEventsEnd = false,
): WatchEvent<AnyObject> {
  const annotations = initialEventsEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
  return {
    type: 'BOOKMARK',
    object: {
      apiVersion: apiVersionOf(type),
      kind: type.kind,
      metadata: { resourceVersion: String(version), ...annotations },
    },
  };
}

export function tooOld(type: ResourceType, version: string): StoreError {
  return new StoreError(
    'Expired',
    `${type.plural}: resourceVersion ${version} is not among the changes kept; list again and watch from there`,
    { group: type.group, kind: type.plural },
  );
}

function tooSlow(type: ResourceType): StoreError {
  return new StoreError(
    'Expired',
    `${type.plural}: this watch was read too slowly and missed changes; list again and watch from there`,
    { group: type.group, kind: type.plural },
  );
}

/** An object that enters a selection is ADDED to it, one that leaves it DELETED from it. */
function seenThrough(
  selection: Selection | undefined,
  event: StoredEvent,
): WatchEvent<AnyObject> | undefined {
  const { type, object, previous } = event;
  if (selection === undefined) return { type, object };
  const before = previous !== undefined && selection(previous);
  const after = type !== 'DELETED' && selection(object);
  if (after) return { type: before ? 'MODIFIED' : 'ADDED', object };
  return before ? { type: 'DELETED', object } : undefined;
}

function nextWake(
  window: EventWindow,
  timeoutMs: number | undefined,
  signal: AbortSignal | undefined,
): Promise<'event' | 'timeout' | 'abort'> {
  return new Promise((resolve) => {
    const finish = (why: 'event' | 'timeout' | 'abort'): void => {
      forget();
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      resolve(why);
    };
    const onAbort = (): void => finish('abort');
    const forget = window.onWake(() => finish('event'));
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => finish('timeout'), timeoutMs).unref();
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) finish('abort');
  });
}
