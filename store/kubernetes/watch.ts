/**
 * A watch of the Kubernetes API that is not the matter of one connection: it goes on after the version it has seen when the
 * server ends it in an orderly way, when it is cut, and when it falls silent, waiting longer each time that nothing came of it.
 * Bookmarks keep that version young. Only what a new connection cannot mend is thrown: Expired (list again), and anything that
 * the server refuses for good. What is gained by listing again it leaves to the caller.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type ApiRequest, pathOf } from '../client/http-store.ts';
import type { KubernetesObject, ObjectList, WatchEvent, WatchOptions } from '../object-store.ts';
import { frozenCopy, frozenParsed } from '../plain.ts';
import { apiVersionOf, resourceNameOf, type ResourceType } from '../resource.ts';
import { isStoreError, StoreError, type Status } from '../store-error.ts';
import { retryDelayMs } from './retry.ts';

export interface WatchTimes {
  /** The server is asked to end the watch after so long, and half as much again at random. */
  readonly lastsSeconds: number;
  /** The server sends a bookmark every minute: a watch that is silent for longer than this is dead. */
  readonly silentMs: number;
  /** With no connection for so long, the watch gives up. */
  readonly patienceMs: number;
}

const usual: WatchTimes = { lastsSeconds: 300, silentMs: 150_000, patienceMs: 5 * 60_000 };

export interface WatchSource<T> {
  list(): Promise<ObjectList<T>>;
  /** The version that the server is at. */
  newest(): Promise<string>;
  /** One connection; begins when the server has answered. */
  lines(request: ApiRequest, signal: AbortSignal): AsyncIterable<string>;
}

export interface WatchedKind {
  readonly type: ResourceType;
  readonly select: WatchOptions;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly times: Partial<WatchTimes>;
  readonly wentBack?: ((message: string) => void) | undefined;
}

export async function* followList<T extends KubernetesObject>(
  source: WatchSource<T>,
  kind: WatchedKind,
  signal: AbortSignal = new AbortController().signal,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  const { select, logger, type } = kind;
  const times = { ...usual, ...kind.times };
  let from = select.resourceVersion ?? '';
  const resource = resourceNameOf(type);
  try {
    if (from === '' || from === '0') {
      const list = await source.list();
      for (const object of list.items) yield { type: 'ADDED', object };
      from = list.resourceVersion;
      if (select.bookmarks === true) yield { type: 'BOOKMARK', object: endOfList<T>(type, from) };
    }
    for (let failures = 0, lostMs = 0; !signal.aborted;) {
      let trouble: StoreError | undefined;
      const connection: AsyncIterable<WatchEvent<T>> = connect<T>(source, kind, times, from, signal);
      try {
        await refuseFuture(source, kind, from);
        for await (const event of connection) {
          if (failures > 1) logger.info({ resource, failures }, 'watch goes on');
          failures = 0;
          from = event.object.metadata.resourceVersion ?? from;
          if (event.type !== 'BOOKMARK' || select.bookmarks === true) yield event;
        }
      } catch (error) {
        if (!isStoreError(error) || !isMendable(error)) throw error;
        trouble = error;
      }
      if (signal.aborted) return;
      failures += 1;
      if (failures === 1) lostMs = performance.now();
      if (failures === 2) logger.warn({ resource, err: trouble }, 'watch is cut; trying again');
      if (trouble !== undefined && performance.now() - lostMs > times.patienceMs) throw trouble;
      await pause(retryDelayMs(failures, Math.random()), undefined, { signal });
    }
  } catch (error) {
    if (signal.aborted) return;
    throw error;
  }
}

/**
 * A server that was put back to an older state lets a watch from beyond it hang, and shows nothing until it has come that far
 * again.
 */
async function refuseFuture<T>(
  source: WatchSource<T>,
  { type, wentBack }: WatchedKind,
  from: string,
): Promise<void> {
  const newest = await source.newest();
  if (!/^\d+$/.test(from)) return;
  if (BigInt(newest) >= BigInt(from)) return;
  const text = `The API server is at version ${newest} and has forgotten version ${from} of ${resourceNameOf(type)}: it was put back to an older state`;
  wentBack?.(text);
  throw new StoreError('Expired', text);
}

async function* connect<T extends KubernetesObject>(
  source: WatchSource<T>,
  { type, select }: WatchedKind,
  { lastsSeconds, silentMs }: WatchTimes,
  from: string,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  const query = new URLSearchParams({ watch: 'true', allowWatchBookmarks: 'true', resourceVersion: from });
  query.set('timeoutSeconds', String(Math.ceil(lastsSeconds * (1 + Math.random() / 2))));
  if (select.labelSelector !== undefined) query.set('labelSelector', select.labelSelector);
  if (select.fieldSelector !== undefined) query.set('fieldSelector', select.fieldSelector);
  const request = { method: 'GET', path: pathOf(type, { namespace: select.namespace }), query };
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), silentMs);
  try {
    for await (const line of source.lines(request, AbortSignal.any([signal, silence.signal]))) {
      timer.refresh();
      yield eventOf<T>(line);
    }
  } catch (error) {
    if (!silence.signal.aborted || signal.aborted) throw error;
    const text = `Nothing came of the watch of ${resourceNameOf(type)} for ${silentMs / 1000} s`;
    throw new StoreError('Unavailable', text, {}, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function eventOf<T extends KubernetesObject>(line: string): WatchEvent<T> {
  let event: { type: string; object: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (cause) {
    throw new StoreError('Unavailable', `The watch was garbled: ${line.slice(0, 80)}`, {}, { cause });
  }
  switch (event.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
    case 'BOOKMARK':
      return { type: event.type, object: frozenParsed(event.object) as T };
    case 'ERROR':
      throw StoreError.fromStatus(event.object as Partial<Status>, 500);
    default:
      throw new StoreError('Unavailable', `The watch was garbled: an event of type ${event.type}`);
  }
}

/** A new connection may do better. */
function isMendable(error: StoreError): boolean {
  return error.class === 'transient';
}

function endOfList<T extends KubernetesObject>(type: ResourceType, resourceVersion: string): T {
  const annotations = { 'k8s.io/initial-events-end': 'true' };
  const { kind } = type;
  return frozenCopy({
    apiVersion: apiVersionOf(type),
    kind,
    metadata: { resourceVersion, annotations },
  }) as unknown as T;
}
