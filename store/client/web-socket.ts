/**
 * A WebSocket of the API, over the same unix socket or URL, with the same credentials, as other requests. A server that refuses
 * it answers with a Status, which is thrown as a StoreError. A peer that falls silent is cut off; going on is the caller's. It is
 * handed over paused, since the first message may come along with the answer: resume() once somebody listens.
 */
import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { StoreError, type Status } from '../store-error.ts';
import type { HttpStoreOptions } from './http-store.ts';

export interface WebSocketRequest {
  readonly path: string;
  readonly query?: URLSearchParams;
  readonly protocols: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
}

const handshakeWithinMs = 30_000;
/** The server pings every 15 s. */
const silentAtMostMs = 40_000;
const longestMessageBytes = 16 * 1024 * 1024;

export async function openWebSocket(
  options: HttpStoreOptions,
  request: WebSocketRequest,
): Promise<WebSocket> {
  const query = request.query?.size ? `?${request.query.toString()}` : '';
  const target = `${request.path}${query}`;
  const where =
    'socketPath' in options ? `ws+unix://${options.socketPath}:${target}` : webSocketUrl(options.url, target);
  const access = 'access' in options ? await options.access() : undefined;
  const socket = new WebSocket(where, [...request.protocols], {
    ...('tls' in options ? options.tls : {}),
    ...(access ? { agent: access.agent } : {}),
    headers: { 'user-agent': 'muster', ...options.headers, ...access?.headers, ...request.headers },
    perMessageDeflate: false,
    maxPayload: longestMessageBytes,
    handshakeTimeout: handshakeWithinMs,
  });
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  socket.once('open', () => {
    socket.pause();
    resolve(socket);
  });
  socket.once('unexpected-response', (_request, response: IncomingMessage) => {
    refusalOf(response).then(reject, reject);
  });
  socket.on('error', (cause) => {
    reject(
      new StoreError(
        'Unavailable',
        `The connection to ${'socketPath' in options ? options.socketPath : options.url} failed: ${cause.message}`,
        {},
        { cause },
      ),
    );
  });
  endWhenSilent(socket);
  return promise;
}

function webSocketUrl(url: string, target: string): string {
  return `${url.replace(/^http/, 'ws').replace(/\/$/, '')}${target}`;
}

async function refusalOf(response: IncomingMessage): Promise<StoreError> {
  const code = response.statusCode ?? 0;
  let text = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
  try {
    return StoreError.fromStatus(JSON.parse(text) as Partial<Status>, code);
  } catch {
    return StoreError.fromStatus({ message: `The server answered ${code}: ${text.slice(0, 200)}` }, code);
  }
}

function endWhenSilent(socket: WebSocket): void {
  let timer: NodeJS.Timeout | undefined;
  const heard = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => socket.terminate(), silentAtMostMs);
  };
  socket.on('open', heard);
  socket.on('ping', heard);
  socket.on('message', heard);
  socket.on('close', () => clearTimeout(timer));
}
