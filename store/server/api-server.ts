/**
 * A Kubernetes-style HTTP API server over an ObjectStore, on a unix socket or a TCP port, with or without TLS. Who a
 * request comes from and what they may do are two hooks; without a user nothing is answered. Bodies, watches and
 * connections are bounded. It keeps no state but its connections.
 */
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import type { AnyObject, ObjectStore } from '../object-store.ts';
import type { ResourceType } from '../resource.ts';
import { StoreError } from '../store-error.ts';
import type { Log } from '../file/journal.ts';
import { discoveryAt } from './discovery.ts';
import { serveResource, targetOf, unknownPath } from './resource-api.ts';
import { Routes, type AccessRequest, type RouteContext, type RouteHandler, type User } from './routes.ts';
import { Upgrade } from './upgrade.ts';

export interface ApiServerOptions {
  readonly store: ObjectStore;
  readonly types: readonly ResourceType[];
  /** Whose request this is; undefined is answered with 401. */
  readonly authenticate: (request: http.IncomingMessage) => User | undefined | Promise<User | undefined>;
  /** Everything is allowed to an authenticated user when left out. */
  readonly authorize?: (access: AccessRequest) => Verdict | Promise<Verdict>;
  /** What a client's new object becomes before it is stored, such as marked with who made it; may refuse it. */
  readonly prepareCreate?: ((user: User, object: AnyObject) => AnyObject) | undefined;
  readonly version?: string;
  readonly tls?: https.ServerOptions;
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
  readonly server: http.Server;
  readonly #options: ApiServerOptions;
  readonly #stopping = new AbortController();
  readonly #watches = new Map<string, number>();
  #watchCount = 0;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    const onRequest: http.RequestListener = (request, response) => void this.#answer(request, response);
    this.server =
      options.tls === undefined ? http.createServer(onRequest) : https.createServer(options.tls, onRequest);
    this.server.maxConnections = options.maxConnections ?? 4096;
    this.server.on('upgrade', (request, socket, head) => {
      const upgrade = new Upgrade(request, socket, head);
      void this.#answer(request, upgrade.response, upgrade);
    });
  }

  /** `{ path }` for a unix socket, `{ host, port }` for TCP (port 0 picks a free one). */
  listen(where: { path: string } | { host: string; port: number }): Promise<net.AddressInfo | string> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(where, () => {
        this.server.off('error', reject);
        resolve(this.server.address()!);
      });
    });
  }

  /** Ends watches, answers what is under way, and closes. */
  close(): Promise<void> {
    this.#stopping.abort();
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeIdleConnections();
      setTimeout(() => this.server.closeAllConnections(), 2000).unref();
    });
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
      const user = await this.#options.authenticate(request);
      if (user === undefined) throw new StoreError('Unauthorized', 'Who you are could not be established');
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
    const { types, version = '0.1.0', store } = this.#options;
    const target = targetOf(path, types);
    if (target !== undefined) {
      const api = {
        store,
        prepareCreate: this.#options.prepareCreate,
        now: this.#options.now ?? Date.now,
        takeWatch: (one: RouteContext) => this.#takeWatch(one.user),
        maxWatchSeconds: this.#options.maxWatchSeconds ?? 1800,
      };
      return (one) => serveResource(api, target, one);
    }
    return async (one) => {
      const healthy = ['/healthz', '/livez', '/readyz'].includes(path);
      const found = healthy ? { status: 'ok' } : discoveryAt(path, { types, version });
      if (method !== 'GET' || found === undefined) throw unknownPath(path, types);
      await one.requireAccess({ verb: 'get' });
      one.sendJson(200, found);
    };
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
      webSocket: async (protocols) => {
        if (upgrade) return upgrade.accept(protocols, signal);
        throw new StoreError('BadRequest', 'This path is for WebSockets: expected a request to upgrade');
      },
      requireAccess: async (access) => {
        const verdict = (await this.#options.authorize?.({ ...access, user, path })) ?? { allowed: true };
        if (verdict.allowed) return;
        const what = [access.verb, access.resource ?? path, access.subresource, access.name]
          .filter(Boolean)
          .join(' ');
        const where = access.namespace === undefined ? '' : ` in namespace ${access.namespace}`;
        const why = verdict.reason === undefined ? '' : `: ${verdict.reason}`;
        throw new StoreError('Forbidden', `User "${user.name}" may not ${what}${where}${why}`);
      },
    };
  }

  #takeWatch(user: User): Disposable {
    const { maxWatches = 1000, maxWatchesPerUser = 200 } = this.#options;
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

function sendJson(response: http.ServerResponse, code: number, value: unknown): void {
  const text = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(code, { 'content-type': 'application/json', 'content-length': text.length });
  response.end(response.req.method === 'HEAD' ? undefined : text);
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
  if (!/^application\/(.*\+)?json$/.test(contentType)) {
    throw new StoreError('UnsupportedMediaType', `The body is ${contentType}; expected application/json`);
  }
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch (error) {
    throw new StoreError('BadRequest', `The request body is not JSON: ${(error as Error).message}`);
  }
}
