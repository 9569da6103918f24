/**
 * The door to the web page: an HTTP server on the loopback address that passes on what the page reads, and nothing else, with the
 * rights of whoever started it. A browser gets in by a code that serves once; then it has a cookie that scripts cannot read, and a key
 * that other ports of this machine cannot: only both together open. It writes nothing, logs nothing, and forgets all when it ends.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import type net from 'node:net';
import { pipeline } from 'node:stream/promises';
import { guardHeaders } from '../controllers/page/assets.ts';
import { isStoreError, StoreError } from '../store/store-error.ts';

export interface DoorOptions {
  readonly port: number;
  /** Asks the API for what lies below its subresources. */
  readonly upstream: (path: string, query: URLSearchParams) => Promise<http.IncomingMessage>;
  readonly now: () => number;
}

interface Session {
  readonly cookie: Buffer;
  readonly key: Buffer;
}

const codeLastsMs = 5 * 60_000;
const longestBody = 1024;
const mostSessions = 64;

/** The files of the page hold nothing of the cluster; all else needs a session. */
const files = /^\/dashboard\/(page\.js|style\.css|icon\.svg)?$/;
const name = '[a-z0-9][-.a-z0-9]{0,252}';
const readable = [
  /^\/dashboardfeed$/,
  new RegExp(`^/namespaces/${name}/processgroups/${name}/(log|ps|top|history)$`),
  new RegExp(`^/nodemonitors/${name}/(ps|top|history)$`),
];

const passedHeaders = ['content-type', 'cache-control', 'content-encoding', 'etag'] as const;

export class Door implements AsyncDisposable {
  readonly #options: DoorOptions;
  readonly #server: http.Server;
  /** Hashes of codes, with when they end. */
  readonly #codes = new Map<string, number>();
  readonly #sessions: Session[] = [];

  private constructor(options: DoorOptions) {
    this.#options = options;
    this.#server = http.createServer((request, response) => void this.#answer(request, response));
    this.#server.maxConnections = 256;
  }

  static async open(options: DoorOptions): Promise<Door> {
    const door = new Door(options);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    door.#server.once('error', reject);
    door.#server.listen({ host: '127.0.0.1', port: options.port }, resolve);
    await promise;
    return door;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** An address that signs one browser in, once. What follows the `#` no browser sends anywhere. */
  newAddress(): string {
    const code = randomBytes(32).toString('base64url');
    const nowMs = this.#options.now();
    for (const [hash, untilMs] of this.#codes) if (untilMs <= nowMs) this.#codes.delete(hash);
    this.#codes.set(hashOf(code), nowMs + codeLastsMs);
    return `http://127.0.0.1:${this.port}/dashboard/#login=${code}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    try {
      response.setHeaders(new Map(Object.entries(guardHeaders) as [string, string][]));
      // A name of somebody else's that leads here is no way in.
      const host = request.headers.host ?? '';
      if (host !== `127.0.0.1:${this.port}` && host !== `localhost:${this.port}`)
        throw new StoreError(
          'Forbidden',
          `the page is at http://127.0.0.1:${this.port}/, not at another name`,
        );
      const url = new URL(request.url ?? '/', 'http://door');
      if (request.method === 'POST' && url.pathname === '/login') return await this.#login(request, response);
      if (request.method !== 'GET' && request.method !== 'HEAD')
        throw new StoreError('MethodNotAllowed', 'the page only reads');
      if (url.pathname === '/' || url.pathname === '/dashboard') {
        response.writeHead(302, { location: '/dashboard/' });
        return void response.end();
      }
      if (!files.test(url.pathname)) {
        if (!this.#isSignedIn(request)) throw new StoreError('Unauthorized', 'this browser is not signed in');
        if (!readable.some((pattern) => pattern.test(url.pathname)))
          throw new StoreError('NotFound', `the page has no ${url.pathname}`);
      }
      await this.#passOn(url, response);
    } catch (error) {
      refuse(response, error);
    }
  }

  async #passOn({ pathname, searchParams }: URL, response: http.ServerResponse): Promise<void> {
    const answer = await this.#options.upstream(pathname, searchParams);
    response.once('close', () => answer.destroy());
    for (const header of passedHeaders) {
      const value = answer.headers[header];
      if (value !== undefined) response.setHeader(header, value);
    }
    response.writeHead(answer.statusCode ?? 502);
    response.flushHeaders();
    // Either end may leave at any time.
    await pipeline(answer, response).catch(() => response.destroy());
  }

  async #login(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const site = request.headers['sec-fetch-site'];
    const isJson = request.headers['content-type'] === 'application/json';
    if ((site !== undefined && site !== 'same-origin') || !isJson)
      throw new StoreError('Forbidden', 'only the page itself signs in');
    const { code } = (await bodyOf(request)) as { code?: unknown };
    const hash = hashOf(typeof code === 'string' ? code : '');
    const untilMs = this.#codes.get(hash) ?? 0;
    this.#codes.delete(hash);
    if (untilMs <= this.#options.now())
      throw new StoreError(
        'Unauthorized',
        'the address has been used, or is too old; press Enter where "muster dashboard" runs for another',
      );
    const cookie = randomBytes(32).toString('base64url');
    const key = randomBytes(32).toString('base64url');
    this.#sessions.push({ cookie: digestOf(cookie), key: digestOf(key) });
    if (this.#sessions.length > mostSessions) this.#sessions.shift();
    response.setHeader('set-cookie', `${this.#cookieName}=${cookie}; HttpOnly; SameSite=Strict; Path=/`);
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(JSON.stringify({ key }));
  }

  /** Cookies know no ports: each door has a name of its own for its. */
  get #cookieName(): string {
    return `muster-${this.port}`;
  }

  #isSignedIn(request: http.IncomingMessage): boolean {
    const prefix = `${this.#cookieName}=`;
    const cookie = (request.headers.cookie ?? '')
      .split(';')
      .map((one) => one.trim())
      .find((one) => one.startsWith(prefix))
      ?.slice(prefix.length);
    const key = request.headers['x-muster-page-key'];
    if (cookie === undefined || typeof key !== 'string') return false;
    const given = { cookie: digestOf(cookie), key: digestOf(key) };
    return this.#sessions.some(
      (session) => timingSafeEqual(session.cookie, given.cookie) && timingSafeEqual(session.key, given.key),
    );
  }
}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();
const hashOf = (text: string): string => digestOf(text).toString('hex');

async function bodyOf(request: http.IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk as string;
    if (text.length > longestBody) throw new StoreError('TooLarge', 'the body is too long');
  }
  try {
    return (JSON.parse(text) as unknown) ?? {};
  } catch (cause) {
    throw new StoreError('BadRequest', 'the body: expected JSON', {}, { cause });
  }
}

function refuse(response: http.ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  const known = isStoreError(error)
    ? error
    : new StoreError('Unavailable', `the API cannot be reached: ${(error as Error).message}`);
  response.writeHead(known.code, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(known.toStatus()));
}
