/**
 * A Kubernetes-style HTTP API server over an ObjectStore, on a unix socket or a TCP port, with or without TLS. Who a
 * request comes from and what they may do are two hooks; without a user nothing is answered. Bodies, watches and
 * connections are bounded. It keeps no state but its connections.
 */
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import type { ApiStore } from '../api-store.ts';
import type { AnyObject } from '../object-store.ts';
import type { ResourceType } from '../resource.ts';
import { StoreError } from '../store-error.ts';
import { errorOf } from '../transition.ts';
import type { Log } from '../file/journal.ts';
import { discoveryAt, wantsAggregated } from './discovery.ts';
import { isNamespaceType } from './namespace-rules.ts';
import { OpenApi } from './openapi.ts';
import { parseProtobuf, protobufMedia } from './protobuf-body.ts';
import { serveResource, unknownPath, type ResourceApi } from './resource-api.ts';
import { addReviews, type Rules } from './reviews.ts';
import { Routes, type AccessRequest, type RouteContext, type RouteHandler, type User } from './routes.ts';
import { servedTypes, type ServedType } from './served-type.ts';
import { targetOf } from './target.ts';
import { Upgrade } from './upgrade.ts';

export interface ApiServerOptions {
  /** Left out: nothing is served but the routes. */
  readonly store?: ApiStore;
  readonly types: readonly ResourceType[];
  /** Whose request this is; undefined is answered with 401. */
  readonly authenticate: (request: http.IncomingMessage) => User | undefined | Promise<User | undefined>;
  /** Everything is allowed to an authenticated user when left out. */
  readonly authorize?: (access: AccessRequest) => Verdict | Promise<Verdict>;
  /** What a user may do, for those who ask; everything when left out. */
  readonly rulesOf?: (user: User, namespace: string) => Rules;
  /** What a client's new object becomes before it is stored, such as marked with who made it; may refuse it. */
  readonly prepareCreate?: ((user: User, object: AnyObject) => AnyObject) | undefined;
  readonly version?: string;
  readonly log?: Log;
  readonly now?: () => number;
  readonly maxBodyBytes?: number;
  readonly maxWatches?: number;
  readonly maxWatchesPerUser?: number;
  readonly maxWatchSeconds?: number;
  readonly maxConnections?: number;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly reason?: string;
}

export class ApiServer implements AsyncDisposable {
  /** Routes asked before the store's own; see `Routes.add`. */
  readonly routes = new Routes();
  readonly #options: ApiServerOptions;
  readonly #version: string;
  readonly #types: readonly ServedType[];
  readonly #openApi: OpenApi;
  readonly #api: ResourceApi | undefined;
  readonly #servers = new Set<http.Server>();
  readonly #stopping = new AbortController();
  readonly #watches = new Map<string, number>();
  #watchCount = 0;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#version = options.version ?? '0.1.0';
    this.#types = servedTypes(options.types);
    this.#openApi = new OpenApi(this.#types, this.#version);
    const { store } = options;
    this.#api = store && {
      store,
      prepareCreate: options.prepareCreate,
      namespaces: options.types.some(isNamespaceType),
      now: options.now ?? Date.now,
      takeWatch: (one: RouteContext) => this.#takeWatch(one.user),
      maxWatchSeconds: options.maxWatchSeconds ?? 1800,
    };
    if (!store) return;
    addReviews(this.routes, {
      authorize: async (access) => (await options.authorize?.(access)) ?? { allowed: true },
      rulesOf: options.rulesOf ?? (() => everything),
    });
  }

  /**
   * `{ path }` for a unix socket, `{ host, port }` for TCP (port 0 picks a free one), with TLS where its options are given.
   * May be called more than once.
   */
  listen(
    where: { path: string } | { host: string; port: number },
    tls?: https.ServerOptions,
  ): Promise<net.AddressInfo | string> {
    const onRequest: http.RequestListener = (request, response) => void this.#answer(request, response);
    const server = tls === undefined ? http.createServer(onRequest) : https.createServer(tls, onRequest);
    server.maxConnections = this.#options.maxConnections ?? 4096;
    server.on('upgrade', (request, socket, head) => {
      const upgrade = new Upgrade(request, socket, head);
      void this.#answer(request, upgrade.response, upgrade);
    });
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(where, () => {
        server.off('error', reject);
        this.#servers.add(server);
        resolve(server.address()!);
      });
    });
  }

  /** Certificates and authorities for connections from now on, of all listeners with TLS. */
  renewTls(tls: https.ServerOptions): void {
    for (const server of this.#servers) if (server instanceof https.Server) server.setSecureContext(tls);
  }

  /** Ends watches, answers what is under way, and closes. */
  async close(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(
      [...this.#servers].map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
            server.closeIdleConnections();
            setTimeout(() => server.closeAllConnections(), 2000).unref();
          }),
      ),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #answer(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    upgrade?: Upgrade,
  ): Promise<void> {
    const gone = new AbortController();
    // The response is done with once a WebSocket is accepted; its connection is not.
    (upgrade ? request.socket : response).once('close', () => gone.abort());
    request.on('error', () => gone.abort());
    response.on('error', () => gone.abort());
    try {
      const url = new URL(request.url ?? '/', 'http://local');
      if (isHealthPath(url.pathname)) return sendHealth(response, url);
      const user = await this.#options.authenticate(request);
      if (user === undefined) throw new StoreError('Unauthorized', 'Unauthorized');
      const signal = AbortSignal.any([gone.signal, this.#stopping.signal]);
      const context = this.#context(request, response, url, user, signal, upgrade);
      await this.#handlerFor(context)(context);
    } catch (error) {
      this.#fail(request, response, error, upgrade !== undefined);
    }
  }

  #handlerFor(context: RouteContext & { parameters: Record<string, string> }): RouteHandler {
    const { method, path } = context;
    const match = this.routes.find(method, path);
    if (match !== undefined) {
      Object.assign(context.parameters, match.parameters);
      return match.handler;
    }
    const api = this.#api;
    const target = api && targetOf(path, this.#types);
    if (target !== undefined) return (one) => serveResource(api!, target, one);
    const parent = api && targetOf(path.replace(/\/[^/]*$/, ''), this.#types);
    if (parent?.name !== undefined && parent.subresource === undefined) {
      throw errorOf('NotFound', parent.served.type, parent.name, 'not found');
    }
    return async (one) => {
      await one.requireAccess({ verb: method === 'HEAD' ? 'get' : method.toLowerCase() });
      if (method !== 'GET' && method !== 'HEAD') throw unknownPath(path, this.#options.types);
      if (path.startsWith('/openapi/')) return this.#sendOpenApi(one);
      const aggregated = wantsAggregated(one.request.headers.accept);
      const found = discoveryAt(path, { types: this.#types, version: this.#version }, aggregated);
      if (found === undefined) throw unknownPath(path, this.#options.types);
      const media = aggregated && /^\/apis?\/?$/.test(path) ? aggregatedMedia : undefined;
      if (media !== undefined) one.response.setHeader('vary', 'Accept');
      sendText(one.response, 200, JSON.stringify(found), media);
    };
  }

  #sendOpenApi({ path, request, response, query }: RouteContext): void {
    const accept = request.headers.accept ?? '*/*';
    if (!/application\/json|\*\/\*|application\/\*/.test(accept)) {
      throw new StoreError('NotAcceptable', 'only the following media types are accepted: application/json');
    }
    if (path === '/openapi/v3') return sendText(response, 200, JSON.stringify(this.#openApi.index()));
    const document =
      path === '/openapi/v2' ? this.#openApi.v2() : this.#openApi.v3(path.slice('/openapi/v3/'.length));
    if (document === undefined) throw unknownPath(path, this.#options.types);
    const etag = `"${document.hash}"`;
    response.setHeader('etag', etag);
    response.setHeader('vary', 'Accept');
    // Under its hash a document never changes.
    const forever = query.get('hash') === document.hash;
    response.setHeader('cache-control', forever ? 'public, max-age=31536000, immutable' : 'no-cache');
    if (request.headers['if-none-match'] === etag) {
      response.writeHead(304);
      response.end();
    } else sendText(response, 200, document.text);
  }

  #context(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    url: URL,
    user: User,
    signal: AbortSignal,
    upgrade: Upgrade | undefined,
  ): RouteContext & { parameters: Record<string, string> } {
    const path = url.pathname;
    let body: Promise<Buffer> | undefined;
    const readBody = (): Promise<Buffer> =>
      (body ??= readAll(request, this.#options.maxBodyBytes ?? 4 * 1024 * 1024));
    return {
      request,
      response,
      method: request.method ?? 'GET',
      path,
      parameters: {},
      query: url.searchParams,
      user,
      signal,
      body: readBody,
      json: async () => parseJson(request, await readBody()),
      sendJson: (code, value) => sendJson(response, code, value),
      warn: (message) => {
        const text = message.replaceAll(/["\\]/g, '\\$&').replaceAll(/[^\x20-\x7e]/g, '?');
        response.appendHeader('warning', `299 - "${text}"`);
      },
      webSocket: async (protocols) => {
        if (upgrade) return upgrade.accept(protocols, signal);
        throw new StoreError('BadRequest', 'This path is for WebSockets: expected a request to upgrade');
      },
      requireAccess: async (access) => {
        const verdict = (await this.#options.authorize?.({ ...access, user, path })) ?? { allowed: true };
        if (verdict.allowed) return;
        throw forbidden(user, path, access, verdict.reason);
      },
    };
  }

  #takeWatch(user: User): Disposable {
    const { maxWatches = 10_000, maxWatchesPerUser = 5000 } = this.#options;
    const own = this.#watches.get(user.name) ?? 0;
    if (this.#watchCount >= maxWatches || own >= maxWatchesPerUser) {
      throw new StoreError(
        'TooManyRequests',
        `There are ${this.#watchCount} watches, ${own} of user "${user.name}"; at most ${maxWatches} and ${maxWatchesPerUser} are allowed; close some or try later`,
        { retryAfterSeconds: 5 },
      );
    }
    this.#watchCount += 1;
    this.#watches.set(user.name, own + 1);
    return {
      [Symbol.dispose]: () => {
        this.#watchCount -= 1;
        const left = (this.#watches.get(user.name) ?? 1) - 1;
        if (left === 0) this.#watches.delete(user.name);
        else this.#watches.set(user.name, left);
      },
    };
  }

  #fail(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    thrown: unknown,
    upgrading: boolean,
  ): void {
    let error: StoreError;
    if (thrown instanceof StoreError) error = thrown;
    else if (thrown instanceof URIError)
      error = new StoreError('BadRequest', 'The path is not properly encoded');
    else {
      this.#options.log?.error({ err: thrown, path: request.url, method: request.method }, 'request failed');
      error = new StoreError('InternalError', 'The server failed to answer; its log says why');
    }
    if (response.headersSent) {
      response.destroy();
      return;
    }
    if (error.details.retryAfterSeconds !== undefined) {
      response.setHeader('retry-after', String(error.details.retryAfterSeconds));
    }
    if (request.complete || upgrading) {
      sendJson(response, error.code, error.toStatus());
      return;
    }
    // The rest of the body is not wanted, but a client that still writes would hear of a broken pipe in place of this answer.
    response.setHeader('connection', 'close');
    response.once('finish', () => setImmediate(() => request.destroy()));
    void discardRest(request).then(() => sendJson(response, error.code, error.toStatus()));
  }
}

const discardedMostBytes = 64 * 1024 * 1024;
const discardedWithinMs = 10_000;

/** Reads a body to its end and keeps nothing of it; settles sooner when it is too long or too slow for that. */
async function discardRest(request: http.IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, discardedWithinMs);
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > discardedMostBytes) resolve();
  });
  for (const end of ['end', 'close', 'error'] as const) request.once(end, () => resolve());
  request.resume();
  await promise;
  clearTimeout(timer);
}

/** The media type by which clients know an aggregated discovery document. */
const aggregatedMedia = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

const everything: Rules = {
  resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
  nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
};

/** Anybody may ask whether the server is well. */
const isHealthPath = (path: string): boolean => /^\/(healthz|livez|readyz)(\/ping)?$/.test(path);

function sendHealth(response: http.ServerResponse, url: URL): void {
  const name = url.pathname.split('/')[1]!;
  const text = url.searchParams.has('verbose') ? `[+]ping ok\n${name} check passed\n` : 'ok';
  sendText(response, 200, text, 'text/plain; charset=utf-8');
}

function forbidden(
  user: User,
  path: string,
  { verb, group = '', resource, subresource, namespace, name }: Omit<AccessRequest, 'user' | 'path'>,
  reason: string | undefined,
): StoreError {
  const why = reason === undefined ? '' : `: ${reason}`;
  if (resource === undefined) {
    return new StoreError('Forbidden', `forbidden: User "${user.name}" cannot ${verb} path "${path}"${why}`);
  }
  const inGroup = group === '' ? resource : `${resource}.${group}`;
  const what = subresource === undefined ? resource : `${resource}/${subresource}`;
  const where = namespace === undefined ? ' at the cluster scope' : ` in the namespace "${namespace}"`;
  return new StoreError(
    'Forbidden',
    `${inGroup}${name === undefined ? '' : ` "${name}"`} is forbidden: User "${user.name}" cannot ${verb} resource "${what}" in API group "${group}"${where}${why}`,
    { group, kind: resource, ...(name === undefined ? {} : { name }) },
  );
}

function sendJson(response: http.ServerResponse, code: number, value: unknown): void {
  sendText(response, code, `${JSON.stringify(value)}\n`);
}

function sendText(
  response: http.ServerResponse,
  code: number,
  text: string,
  media = 'application/json',
): void {
  const bytes = Buffer.from(text);
  response.writeHead(code, { 'content-type': media, 'content-length': bytes.length });
  response.end(response.req.method === 'HEAD' ? undefined : bytes);
}

async function readAll(request: http.IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = (bytes: number): StoreError =>
    new StoreError(
      'TooLarge',
      `The request body is ${bytes} bytes or more; at most ${maxBytes} are accepted`,
    );
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > maxBytes) throw tooLarge(announced);
  const chunks: Buffer[] = [];
  let bytes = 0;
  return new Promise((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        request.pause();
        reject(tooLarge(bytes));
      } else chunks.push(chunk);
    });
    request.on('end', () => resolve(Buffer.concat(chunks)));
    request.on('error', reject);
    request.on('close', () => reject(new StoreError('BadRequest', 'The request body was cut off')));
  });
}

function parseJson(request: http.IncomingMessage, body: Buffer): unknown {
  const contentType = (request.headers['content-type'] ?? 'application/json').split(';')[0]!.trim();
  if (contentType === protobufMedia) return parseProtobuf(body);
  if (!/^application\/(.*\+)?json$/.test(contentType)) {
    throw new StoreError('UnsupportedMediaType', `The body is ${contentType}; expected application/json`);
  }
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch (error) {
    throw new StoreError('BadRequest', `The request body is not JSON: ${(error as Error).message}`);
  }
}
