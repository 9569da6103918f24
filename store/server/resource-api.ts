/**
 * The resources of a store over HTTP, as the Kubernetes API has them: collections, objects and their status. It
 * translates requests to calls of ObjectStore and back, and decides nothing about objects itself.
 */
import type {
  AnyObject,
  DeleteOptions,
  KubernetesObject,
  ObjectStore,
  Patch,
  SelectOptions,
  WatchEvent,
} from '../object-store.ts';
import { apiVersionOf, resourceNameOf, type ResourceType } from '../resource.ts';
import { StoreError } from '../store-error.ts';
import { segmentsOf, type RouteContext, type User } from './routes.ts';
import { tableOf, type IncludeObject } from './table.ts';

export interface Target {
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly status: boolean;
}

/** What a path means; undefined when it names no resource of these types. */
export function targetOf(path: string, types: readonly ResourceType[]): Target | undefined {
  const segments = segmentsOf(path).map((segment) => decodeURIComponent(segment));
  const root = segments.shift();
  const group = root === 'apis' ? segments.shift() : root === 'api' ? '' : undefined;
  const version = segments.shift();
  if (group === undefined || version === undefined) return undefined;
  let namespace: string | undefined;
  if (segments[0] === 'namespaces' && segments.length >= 3) {
    namespace = segments[1];
    segments.splice(0, 2);
  }
  const [plural, name, subresource] = segments;
  const type = types.find((one) => one.group === group && one.version === version && one.plural === plural);
  if (type === undefined || segments.length > 3 || (subresource !== undefined && subresource !== 'status')) {
    return undefined;
  }
  if (namespace !== undefined && !type.namespaced) return undefined;
  if (name !== undefined && type.namespaced && namespace === undefined) return undefined;
  return { type, namespace, name, status: subresource === 'status' };
}

export interface ResourceApi {
  readonly prepareCreate?: ((user: User, object: AnyObject) => AnyObject) | undefined;
  readonly store: ObjectStore;
  readonly now: () => number;
  /** Takes one of the places for watches, or throws TooManyRequests. */
  takeWatch(context: RouteContext): Disposable;
  readonly maxWatchSeconds: number;
}

export async function serveResource(api: ResourceApi, target: Target, context: RouteContext): Promise<void> {
  const { method, query } = context;
  const watching = method === 'GET' && /^(true|1)$/.test(query.get('watch') ?? '');
  const verb = verbOf(method, target, watching);
  if (verb === undefined)
    throw new StoreError('MethodNotAllowed', `${method} is not allowed on ${context.path}`);
  await context.requireAccess({
    verb,
    group: target.type.group,
    resource: target.type.plural,
    subresource: target.status ? 'status' : undefined,
    namespace: target.namespace,
    name: target.name,
  });
  if (query.has('dryRun')) throw new StoreError('BadRequest', 'dryRun is not supported by this server');
  switch (verb) {
    case 'watch':
      return watch(api, target, context);
    case 'list':
      return list(api, target, context);
    case 'get':
      return sendOne(api, target, context, 200, await api.store.get(target.type, keyOf(target)));
    case 'create': {
      const sent = await objectOf(target, context);
      const object = api.prepareCreate?.(context.user, sent as AnyObject) ?? sent;
      return sendOne(api, target, context, 201, await api.store.create(target.type, object));
    }
    case 'update': {
      const object = await objectOf(target, context);
      const write = target.status ? 'updateStatus' : 'update';
      return sendOne(api, target, context, 200, await api.store[write](target.type, object));
    }
    case 'patch': {
      const patch = await patchOf(context);
      const options = target.status ? ({ subresource: 'status' } as const) : {};
      const patched = await api.store.patch(target.type, keyOf(target), patch, options);
      return sendOne(api, target, context, 200, patched);
    }
    case 'delete':
      return remove(api, target, context);
    case 'deletecollection':
      return removeAll(api, target, context);
  }
}

type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

function verbOf(method: string, target: Target, watching: boolean): Verb | undefined {
  const collection = target.name === undefined;
  switch (method) {
    case 'GET':
    case 'HEAD':
      return watching ? 'watch' : collection ? 'list' : 'get';
    case 'POST':
      return collection && !(target.type.namespaced && target.namespace === undefined) ? 'create' : undefined;
    case 'PUT':
      return collection ? undefined : 'update';
    case 'PATCH':
      return collection ? undefined : 'patch';
    case 'DELETE':
      return target.status ? undefined : collection ? 'deletecollection' : 'delete';
    default:
      return undefined;
  }
}

function keyOf(target: Target): { namespace: string | undefined; name: string } {
  return { namespace: target.namespace, name: target.name! };
}

function selectOf(target: Target, query: URLSearchParams): SelectOptions {
  const named = target.name === undefined ? undefined : `metadata.name=${target.name}`;
  return {
    namespace: target.namespace,
    labelSelector: query.get('labelSelector') ?? undefined,
    fieldSelector: [query.get('fieldSelector'), named].filter(Boolean).join(',') || undefined,
  };
}

/** The object of a request, which must be the one that the path names. */
async function objectOf(target: Target, context: RouteContext): Promise<KubernetesObject> {
  const body = await context.json();
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new StoreError('BadRequest', 'The request body is not an object');
  }
  const object = body as KubernetesObject;
  const metadata = object.metadata ?? {};
  for (const [field, wanted] of [
    ['name', target.name],
    ['namespace', target.namespace],
  ] as const) {
    const found = metadata[field];
    if (wanted !== undefined && found !== undefined && found !== '' && found !== wanted) {
      throw new StoreError('BadRequest', `metadata.${field} is "${found}", the path says "${wanted}"`);
    }
  }
  return {
    ...object,
    metadata: {
      ...metadata,
      ...(target.name === undefined ? {} : { name: target.name }),
      ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
    },
  };
}

async function patchOf(context: RouteContext): Promise<Patch> {
  const contentType = (context.request.headers['content-type'] ?? '').split(';')[0]!.trim();
  switch (contentType) {
    case 'application/merge-patch+json':
      return { type: 'merge', patch: await context.json() };
    case 'application/json-patch+json':
      return { type: 'json', patch: (await context.json()) as [] };
    default:
      throw new StoreError(
        'UnsupportedMediaType',
        `A patch of type ${contentType || 'unknown'} is not supported: expected application/merge-patch+json or application/json-patch+json`,
      );
  }
}

async function deleteOptionsOf(context: RouteContext): Promise<DeleteOptions> {
  const body = (await context.body()).length === 0 ? {} : await context.json();
  const asked = (body ?? {}) as {
    propagationPolicy?: string;
    preconditions?: DeleteOptions['preconditions'];
    dryRun?: unknown[];
  };
  if (asked.dryRun !== undefined && asked.dryRun.length > 0) {
    throw new StoreError('BadRequest', 'dryRun is not supported by this server');
  }
  const propagation = asked.propagationPolicy ?? context.query.get('propagationPolicy') ?? 'Background';
  if (propagation !== 'Background' && propagation !== 'Foreground' && propagation !== 'Orphan') {
    throw new StoreError(
      'BadRequest',
      `propagationPolicy ${propagation}: expected Background, Foreground or Orphan`,
    );
  }
  return { propagation, preconditions: asked.preconditions };
}

async function remove(api: ResourceApi, target: Target, context: RouteContext): Promise<void> {
  const result = await api.store.delete(target.type, keyOf(target), await deleteOptionsOf(context));
  if (!result.gone) return sendOne(api, target, context, 200, result.object);
  const details = { name: target.name, group: target.type.group, kind: target.type.plural, uid: result.uid };
  context.sendJson(200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details });
}

async function removeAll(api: ResourceApi, target: Target, context: RouteContext): Promise<void> {
  const options = await deleteOptionsOf(context);
  const { items } = await api.store.list(target.type, selectOf(target, context.query));
  await Promise.all(
    items.map(({ metadata }) =>
      api.store
        .delete(target.type, { namespace: metadata.namespace, name: metadata.name! }, options)
        .catch((error: unknown) => {
          if (!(error instanceof StoreError) || error.reason !== 'NotFound') throw error;
        }),
    ),
  );
  context.sendJson(200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' });
}

async function list(api: ResourceApi, target: Target, context: RouteContext): Promise<void> {
  const { query } = context;
  const limit = Number(query.get('limit') ?? 0);
  if (!Number.isSafeInteger(limit) || limit < 0)
    throw new StoreError('BadRequest', 'limit is not a whole number');
  const found = await api.store.list(target.type, {
    ...selectOf(target, query),
    limit: limit === 0 ? undefined : limit,
    continue: query.get('continue') ?? undefined,
  });
  const { items, ...metadata } = found;
  const include = tableWanted(context);
  if (include !== undefined) {
    return context.sendJson(200, tableOf(target.type, items, { nowMs: api.now(), include, metadata }));
  }
  context.sendJson(200, {
    kind: `${target.type.kind}List`,
    apiVersion: apiVersionOf(target.type),
    metadata,
    items,
  });
}

function sendOne(
  api: ResourceApi,
  target: Target,
  context: RouteContext,
  code: number,
  object: KubernetesObject,
): void {
  const include = tableWanted(context);
  const shown =
    include === undefined
      ? object
      : tableOf(target.type, [object], { nowMs: api.now(), include, metadata: {} });
  context.sendJson(code, shown);
}

/** Undefined unless the client prefers a table to the objects. */
function tableWanted({ request, query }: RouteContext): IncludeObject | undefined {
  for (const part of (request.headers.accept ?? '').split(',')) {
    const [media, ...parameters] = part.split(';').map((item) => item.trim());
    if (media !== 'application/json' && media !== '*/*') continue;
    if (!parameters.includes('as=Table')) return undefined;
    const include = query.get('includeObject');
    return include === 'None' || include === 'Object' ? include : 'Metadata';
  }
  return undefined;
}

async function watch(api: ResourceApi, target: Target, context: RouteContext): Promise<void> {
  const { query, response } = context;
  using _place = api.takeWatch(context);
  const asked = Number(query.get('timeoutSeconds') ?? 0);
  const seconds = asked > 0 ? Math.min(asked, api.maxWatchSeconds) : api.maxWatchSeconds;
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), seconds * 1000);
  const signal = AbortSignal.any([context.signal, ending.signal]);
  const initial = query.get('sendInitialEvents') === 'true';
  const options = {
    ...selectOf(target, query),
    resourceVersion: initial ? undefined : (query.get('resourceVersion') ?? undefined),
    bookmarks: query.get('allowWatchBookmarks') === 'true',
  };
  const include = tableWanted(context);
  try {
    const events = api.store.watch(target.type, options, signal)[Symbol.asyncIterator]();
    // The first step may refuse; then the answer is an ordinary error, not a stream.
    let next = events.next();
    await Promise.race([next, new Promise((resolve) => void setImmediate(resolve))]);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    let firstTable = true;
    try {
      for (;;) {
        const step = await next;
        if (step.done === true) break;
        if (!isUnaskedEnd(step.value, initial)) {
          const line =
            include === undefined
              ? lineOf(step.value)
              : tableLine(api, target, step.value, include, firstTable);
          firstTable = false;
          if (!response.write(line)) await drained(response, signal);
        }
        next = events.next();
      }
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
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

/** Objects are shared and frozen, so their text is made once, however many watch. */
const texts = new WeakMap<object, string>();

function lineOf({ type, object }: WatchEvent<KubernetesObject>): string {
  let text = texts.get(object);
  if (text === undefined) {
    text = JSON.stringify(object);
    texts.set(object, text);
  }
  return `{"type":"${type}","object":${text}}\n`;
}

function tableLine(
  api: ResourceApi,
  target: Target,
  event: WatchEvent<KubernetesObject>,
  include: IncludeObject,
  first: boolean,
): string {
  if (event.type === 'BOOKMARK') return lineOf(event);
  const { resourceVersion = '' } = event.object.metadata;
  const table = tableOf(target.type, [event.object], {
    nowMs: api.now(),
    include,
    metadata: { resourceVersion },
  });
  return `${JSON.stringify({ type: event.type, object: first ? table : { ...table, columnDefinitions: null } })}\n`;
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

export function unknownPath(path: string, types: readonly ResourceType[]): StoreError {
  const known = types.map(resourceNameOf).join(', ');
  return new StoreError('NotFound', `There is nothing at ${path}; this server keeps ${known}`);
}
