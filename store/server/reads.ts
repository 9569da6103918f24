/**
 * Reading the resource API: one object, a list page by page, a watch. It asks the store and shows what it says in the form
 * that the client wants.
 */
import type { ApiStore } from '../api-store.ts';
import { isStoreError, type KubernetesObject, type WatchEvent } from '../object-store.ts';
import { StoreError } from '../store-error.ts';
import { formOf, listAs, objectAs, watchLine } from './representation.ts';
import type { RouteContext } from './routes.ts';
import { scaleOf } from './scale.ts';
import { keyOfTarget, selectOf, type Target } from './target.ts';

export interface ReadPorts {
  readonly store: ApiStore;
  readonly now: () => number;
  /** Takes one of the places for watches, or throws TooManyRequests. */
  takeWatch(context: RouteContext): Disposable;
  readonly maxWatchSeconds: number;
}

export const wantsWatch = (query: URLSearchParams): boolean => isTrue(query.get('watch'));

const isTrue = (value: string | null): boolean => value === 'true' || value === '1';

export async function get(ports: ReadPorts, target: Target, context: RouteContext): Promise<void> {
  await ports.store.settled?.();
  const object = await ports.store.get(target.type, keyOfTarget(target));
  sendObject(ports, target, context, 200, object);
}

export function sendObject(
  { now }: Pick<ReadPorts, 'now'>,
  target: Target,
  context: RouteContext,
  code: number,
  object: KubernetesObject,
): void {
  if (target.subresource === 'scale') return context.sendJson(code, scaleOf(target.type, object));
  const form = formOf(context.request.headers.accept, context.query.get('includeObject'));
  context.sendJson(code, objectAs(form, target.served, object, now()));
}

export async function list(ports: ReadPorts, target: Target, context: RouteContext): Promise<void> {
  const { query } = context;
  const form = formOf(context.request.headers.accept, query.get('includeObject'));
  const limit = Number(query.get('limit') ?? 0);
  if (!Number.isSafeInteger(limit) || limit < 0) {
    throw new StoreError('BadRequest', `limit ${query.get('limit')} is not a whole number`);
  }
  const token = query.get('continue') ?? '';
  await ports.store.settled?.();
  const found = await ports.store.list(target.type, {
    ...selectOf(target, query),
    limit: limit === 0 ? undefined : limit,
    continue: token === '' ? undefined : token,
  });
  const { items, ...metadata } = found;
  if (token === '') refuseOtherVersion(query, metadata.resourceVersion);
  context.sendJson(200, listAs(form, target.served, items, metadata, ports.now()));
}

/** A list is always the newest; an exact other version, or one still to come, cannot be had. */
function refuseOtherVersion(query: URLSearchParams, current: string): void {
  const wanted = query.get('resourceVersion') ?? '';
  const match = query.get('resourceVersionMatch') ?? '';
  if (match !== '' && match !== 'Exact' && match !== 'NotOlderThan') {
    throw new StoreError(
      'Invalid',
      `resourceVersionMatch: Unsupported value: "${match}": supported values: "Exact", "NotOlderThan"`,
    );
  }
  if (wanted === '') {
    if (match !== '')
      throw forbiddenOption(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden unless resourceVersion is provided',
      );
    return;
  }
  if (!/^\d{1,16}$/.test(wanted)) throw invalidVersion(wanted);
  if (match === 'Exact' && wanted !== current) {
    throw new StoreError(
      'Expired',
      `The resourceVersion for the provided list is too old: ${wanted} (${current})`,
    );
  }
  if (Number(wanted) > Number(current)) {
    throw new StoreError('Timeout', `Too large resource version: ${wanted}, current: ${current}`, {
      retryAfterSeconds: 1,
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version', field: '' }],
    });
  }
}

const invalidVersion = (value: string): StoreError =>
  new StoreError('BadRequest', `Invalid value: "${value}": resourceVersion is not a number`);

const forbiddenOption = (field: string, message: string): StoreError =>
  new StoreError('Invalid', `ListOptions.meta.k8s.io "" is invalid: ${field}: Forbidden: ${message}`, {
    group: 'meta.k8s.io',
    kind: 'ListOptions',
    causes: [{ field, message, reason: 'FieldValueForbidden' }],
  });

export async function watch(ports: ReadPorts, target: Target, context: RouteContext): Promise<void> {
  const { query, response } = context;
  const form = formOf(context.request.headers.accept, query.get('includeObject'));
  const sendInitial = query.get('sendInitialEvents');
  const initial = isTrue(sendInitial);
  if (sendInitial !== null && query.get('resourceVersionMatch') !== 'NotOlderThan') {
    throw forbiddenOption(
      'resourceVersionMatch',
      'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
    );
  }
  const selection = selectOf(target, query);
  let resourceVersion = query.get('resourceVersion') ?? '';
  if (resourceVersion !== '' && !/^\d{1,16}$/.test(resourceVersion)) throw invalidVersion(resourceVersion);
  if (initial) resourceVersion = '';
  else if (sendInitial !== null && (resourceVersion === '' || resourceVersion === '0')) {
    ({ resourceVersion } = await ports.store.list(target.type, { ...selection, limit: 1 }));
  }
  using _place = ports.takeWatch(context);
  const asked = Number(query.get('timeoutSeconds') ?? 0);
  const seconds = asked > 0 ? Math.min(asked, ports.maxWatchSeconds) : ports.maxWatchSeconds;
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), seconds * 1000);
  const signal = AbortSignal.any([context.signal, ending.signal]);
  const options = { ...selection, resourceVersion, bookmarks: isTrue(query.get('allowWatchBookmarks')) };
  try {
    const events = ports.store.watch(target.type, options, signal)[Symbol.asyncIterator]();
    // The first step may refuse; then the answer is an ordinary error, not a stream.
    let next = events.next();
    await Promise.race([next, new Promise((resolve) => void setImmediate(resolve))]);
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
    response.flushHeaders();
    let first = true;
    try {
      for (;;) {
        const step = await next;
        if (step.done === true) break;
        if (!isUnaskedEnd(step.value, initial)) {
          const line = watchLine(form, target.served, step.value, ports.now(), first);
          first = false;
          if (!response.write(line)) await drained(response, signal);
        }
        next = events.next();
      }
    } catch (error) {
      if (!isStoreError(error)) throw error;
      response.write(`${JSON.stringify({ type: 'ERROR', object: error.toStatus() })}\n`);
    } finally {
      await events.return?.();
    }
    response.end();
  } finally {
    clearTimeout(timer);
  }
}

/** The mark after the first objects is only for those who asked for it by `sendInitialEvents`. */
function isUnaskedEnd(event: WatchEvent<KubernetesObject>, initial: boolean): boolean {
  return (
    !initial &&
    event.type === 'BOOKMARK' &&
    event.object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true'
  );
}

function drained(response: RouteContext['response'], signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
