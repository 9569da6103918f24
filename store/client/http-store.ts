/**
 * An ObjectStore over the Kubernetes-style HTTP API, on a unix socket or a URL (with TLS and client certificates, or
 * credentials that change as time goes by).
 * It retries nothing, with one exception: a watch that the server ended in an orderly way goes on where it stopped.
 * A connection that breaks in the middle of a write is `Unavailable`, and the outcome unknown.
 */
import http from 'node:http';
import https from 'node:https';
import type {
  AnyObject,
  DeleteOptions,
  DeleteResult,
  KubernetesObject,
  ListOptions,
  ObjectKey,
  ObjectList,
  ObjectStore,
  Patch,
  PatchOptions,
  SelectOptions,
  WatchEvent,
  WatchOptions,
} from '../object-store.ts';
import { frozenParsed } from '../plain.ts';
import { apiVersionOf, type ResourceType } from '../resource.ts';
import { StoreError, type Status } from '../store-error.ts';

export type HttpStoreOptions =
  | { readonly socketPath: string; readonly headers?: Readonly<Record<string, string>> }
  | {
      readonly url: string;
      readonly headers?: Readonly<Record<string, string>>;
      /** CA, certificate and key, as for node:https. */
      readonly tls?: https.AgentOptions;
    }
  | {
      readonly url: string;
      readonly headers?: Readonly<Record<string, string>>;
      /** Asked before every request. */
      readonly access: () => Promise<Access>;
    };

export interface Access {
  readonly agent: http.Agent;
  readonly headers: Readonly<Record<string, string>>;
}

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query?: URLSearchParams;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
}

const maxLineCharacters = 64 * 1024 * 1024;
const patchTypes = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
} as const satisfies Record<Patch['type'], string>;

export class HttpStore implements ObjectStore, Disposable {
  readonly #options: HttpStoreOptions;
  readonly #agent: http.Agent | undefined;
  readonly #base: URL;

  constructor(options: HttpStoreOptions) {
    this.#options = options;
    this.#base = new URL('socketPath' in options ? 'http://local' : options.url);
    if ('access' in options) return;
    const agentOptions = { keepAlive: true, maxSockets: 64 };
    this.#agent =
      this.#base.protocol === 'https:'
        ? new https.Agent({ ...agentOptions, ...('tls' in options ? options.tls : {}) })
        : new http.Agent(agentOptions);
  }

  async get<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    signal?: AbortSignal,
  ): Promise<T> {
    return frozenParsed(await this.requestJson({ method: 'GET', path: pathOf(type, key) }, signal)) as T;
  }

  async list<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options: ListOptions = {},
    signal?: AbortSignal,
  ): Promise<ObjectList<T>> {
    const query = queryOf(options);
    if (options.limit !== undefined) query.set('limit', String(options.limit));
    if (options.continue !== undefined) query.set('continue', options.continue);
    const path = pathOf(type, { namespace: options.namespace });
    const answer = (await this.requestJson({ method: 'GET', path, query }, signal)) as {
      metadata: Omit<ObjectList<T>, 'items'>;
      items: T[];
    };
    const { resourceVersion, continue: token, remainingItemCount } = answer.metadata;
    const kind = { apiVersion: apiVersionOf(type), kind: type.kind };
    return {
      items: answer.items.map((item) => frozenParsed({ ...kind, ...item })),
      resourceVersion,
      ...(token === undefined || token === '' ? {} : { continue: token }),
      ...(remainingItemCount === undefined ? {} : { remainingItemCount }),
    };
  }

  async *watch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options: WatchOptions = {},
    signal?: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    let { resourceVersion } = options;
    let initial = resourceVersion === undefined || resourceVersion === '' || resourceVersion === '0';
    while (signal?.aborted !== true) {
      const query = queryOf(options);
      query.set('watch', 'true');
      // Bookmarks are always asked for: after the first objects, they say where to go on.
      query.set('allowWatchBookmarks', 'true');
      if (initial) {
        query.set('sendInitialEvents', 'true');
        query.set('resourceVersionMatch', 'NotOlderThan');
      } else query.set('resourceVersion', resourceVersion!);
      const path = pathOf(type, { namespace: options.namespace });
      let ended = false;
      try {
        for await (const line of this.requestLines({ method: 'GET', path, query }, signal)) {
          const event = JSON.parse(line) as { type: string; object: unknown };
          if (event.type === 'ERROR') throw StoreError.fromStatus(event.object as Partial<Status>, 500);
          const object = frozenParsed(event.object) as T;
          const bookmark = event.type === 'BOOKMARK';
          const endOfInitial =
            bookmark && object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true';
          if (endOfInitial) initial = false;
          if (!initial) resourceVersion = object.metadata.resourceVersion;
          if (!bookmark || options.bookmarks === true) yield { type: event.type as 'ADDED', object };
        }
        ended = true;
      } catch (error) {
        if (signal?.aborted) return;
        throw error;
      }
      if (ended && initial)
        throw new StoreError('Unavailable', 'The watch ended before all objects had come');
    }
  }

  async create<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    const { namespace } = object.metadata ?? {};
    const path = pathOf(type, { namespace: type.namespaced ? (namespace ?? 'default') : undefined });
    const request = { method: 'POST', path, query: strictly(), body: object };
    return frozenParsed(await this.requestJson(request, signal)) as T;
  }

  update<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#put(type, object, '', signal);
  }

  updateStatus<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#put(type, object, '/status', signal);
  }

  async patch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    patch: Patch,
    options: PatchOptions = {},
    signal?: AbortSignal,
  ): Promise<T> {
    const path = `${pathOf(type, key)}${options.subresource === 'status' ? '/status' : ''}`;
    const query = options.subresource === 'status' ? new URLSearchParams() : strictly();
    if (patch.type === 'apply') {
      query.set('fieldManager', patch.fieldManager);
      if (patch.force === true) query.set('force', 'true');
    }
    const contentType = patchTypes[patch.type];
    const request = { method: 'PATCH', path, query, body: patch.patch, contentType };
    return frozenParsed(await this.requestJson(request, signal)) as T;
  }

  async delete<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    options: DeleteOptions = {},
    signal?: AbortSignal,
  ): Promise<DeleteResult<T>> {
    const body = {
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      propagationPolicy: options.propagation ?? 'Background',
      preconditions: options.preconditions,
      gracePeriodSeconds: options.gracePeriodSeconds,
    };
    const answer = await this.requestJson({ method: 'DELETE', path: pathOf(type, key), body }, signal);
    const status = answer as Partial<Status>;
    if (status.kind === 'Status') return { gone: true, uid: status.details?.uid ?? '' };
    return { gone: false, object: frozenParsed(answer) as T };
  }

  async #put<T extends KubernetesObject>(
    type: ResourceType,
    object: T,
    subresource: string,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { name, namespace } = object.metadata ?? {};
    if (name === undefined || name === '') throw new StoreError('Invalid', 'metadata.name is missing');
    const path = `${pathOf(type, { name, namespace })}${subresource}`;
    const query = subresource === '/status' ? new URLSearchParams() : strictly();
    const request = { method: 'PUT', path, query, body: object };
    return frozenParsed(await this.requestJson(request, signal)) as T;
  }

  /** Any request of the API; throws the StoreError of a failed one. */
  async requestJson(request: ApiRequest, signal?: AbortSignal): Promise<unknown> {
    const response = await this.request(request, signal);
    return parseAnswer(await textOf(response, this.#where), response.statusCode ?? 0, this.#where);
  }

  /** The lines of a streamed answer, as they come. */
  async *requestLines(request: ApiRequest, signal?: AbortSignal): AsyncGenerator<string, void, undefined> {
    const response = await this.request(request, signal);
    try {
      let rest = '';
      for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop()!;
        if (rest.length > maxLineCharacters)
          throw new StoreError('TooLarge', 'A line of the answer is too long');
        for (const line of lines) if (line !== '') yield line;
      }
    } catch (error) {
      throw error instanceof StoreError ? error : unreachable(error, this.#where);
    } finally {
      response.destroy();
    }
  }

  /** The answer of a request that succeeded, its body unread; throws the StoreError of a failed one. */
  async request(request: ApiRequest, signal?: AbortSignal): Promise<http.IncomingMessage> {
    signal?.throwIfAborted();
    const body = request.body === undefined ? undefined : Buffer.from(JSON.stringify(request.body));
    const query =
      request.query === undefined || request.query.size === 0 ? '' : `?${request.query.toString()}`;
    const base = this.#base.pathname.replace(/\/$/, '');
    const access = 'access' in this.#options ? await this.#options.access() : undefined;
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const send = this.#base.protocol === 'https:' ? https.request : http.request;
    const sent = send({
      ...('socketPath' in this.#options
        ? { socketPath: this.#options.socketPath }
        : { host: this.#base.hostname.replace(/^\[|\]$/g, ''), port: this.#base.port }),
      agent: access?.agent ?? this.#agent,
      method: request.method,
      path: `${base}${request.path}${query}`,
      headers: {
        accept: request.accept ?? 'application/json',
        'user-agent': 'muster',
        ...(body === undefined
          ? {}
          : { 'content-type': request.contentType ?? 'application/json', 'content-length': body.length }),
        ...this.#options.headers,
        ...access?.headers,
      },
      ...(signal === undefined ? {} : { signal }),
    });
    sent.once('response', resolve);
    sent.on('error', (error) =>
      reject(signal?.aborted ? (signal.reason as Error) : unreachable(error, this.#where)),
    );
    sent.end(body);
    const response = await promise;
    const code = response.statusCode ?? 0;
    if (code >= 200 && code < 300) return response;
    parseAnswer(await textOf(response, this.#where), code, this.#where);
    throw new StoreError('InternalError', `${this.#where} answered ${code}`);
  }

  /** Closes idle connections. */
  [Symbol.dispose](): void {
    this.#agent?.destroy();
  }

  get #where(): string {
    return 'socketPath' in this.#options ? this.#options.socketPath : this.#base.origin;
  }
}

export function pathOf(
  type: ResourceType,
  key: { readonly namespace?: string | undefined; readonly name?: string | undefined },
): string {
  const root = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const namespace = key.namespace ?? (key.name === undefined ? undefined : 'default');
  const place =
    type.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  const name = key.name === undefined ? '' : `/${encodeURIComponent(key.name)}`;
  return `${root}${place}/${type.plural}${name}`;
}

/**
 * Fields that the server does not know are errors, never dropped: what people ask for. Of a status they are dropped with a warning, so
 * that controllers get on with definitions that are older than they are.
 */
const strictly = (): URLSearchParams => new URLSearchParams({ fieldValidation: 'Strict' });

function queryOf(options: SelectOptions): URLSearchParams {
  const query = new URLSearchParams();
  if (options.labelSelector !== undefined) query.set('labelSelector', options.labelSelector);
  if (options.fieldSelector !== undefined) query.set('fieldSelector', options.fieldSelector);
  return query;
}

async function textOf(response: http.IncomingMessage, where: string): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch (error) {
    throw unreachable(error, where);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseAnswer(text: string, code: number, where: string): unknown {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    const excerpt = text.slice(0, 200).trim();
    // An API server answers so where it serves nothing at all.
    if (code >= 400 && code < 500) throw StoreError.fromStatus({ message: `${where}: ${excerpt}` }, code);
    throw new StoreError(
      'Unavailable',
      `${where} answered ${code} with something that is not JSON: ${excerpt}`,
    );
  }
  if (code >= 400) throw StoreError.fromStatus(answer as Partial<Status>, code);
  return answer;
}

function unreachable(cause: unknown, where: string): StoreError {
  const code = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
  const never = code === 'ECONNREFUSED' || code === 'ENOENT';
  const todo = where.startsWith('/')
    ? 'is the control plane running? Start one with: muster up --detach'
    : 'is the server of the kubeconfig up, and its address right?';
  const message = never
    ? `Nothing answers at ${where} (${code}); ${todo}`
    : `The connection to ${where} was lost (${code}); whether a write was carried out is unknown`;
  return new StoreError('Unavailable', message, {}, { cause });
}
