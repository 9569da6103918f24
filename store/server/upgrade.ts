/**
 * A request that asks for a WebSocket, from the server's side: until a handler accepts it, it is answered like any other request, so
 * that a refusal is a Status that clients can read. It knows no path and no protocol by name.
 */
import http from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { StoreError } from '../store-error.ts';

/** Longer messages than any client of ours sends; a peer that sends one is cut off. */
const longestMessageBytes = 1024 * 1024;
const closedWithinMs = 1_000;
const pingEveryMs = 15_000;

export class Upgrade {
  readonly response: http.ServerResponse;
  readonly #request: http.IncomingMessage;
  readonly #socket: Duplex;
  readonly #head: Buffer;
  readonly #end = (): void => void this.#socket.end();

  constructor(request: http.IncomingMessage, socket: Duplex, head: Buffer) {
    this.#request = request;
    this.#socket = socket;
    this.#head = head;
    this.response = new http.ServerResponse(request);
    this.response.shouldKeepAlive = false;
    this.response.assignSocket(request.socket);
    this.response.once('finish', this.#end);
    socket.on('error', () => socket.destroy());
  }

  /**
   * Takes the first of `protocols` that the client offers; throws BadRequest when it offers none of them. A peer that answers no
   * ping is cut off; when the signal aborts, the socket is closed.
   */
  async accept(protocols: readonly string[], signal: AbortSignal): Promise<WebSocket> {
    const { WebSocketServer } = await import('ws');
    const offered = (this.#request.headers['sec-websocket-protocol'] ?? '')
      .split(',')
      .map((one) => one.trim());
    const chosen = protocols.find((one) => offered.includes(one));
    if (chosen === undefined) {
      throw new StoreError(
        'BadRequest',
        `Sec-WebSocket-Protocol: expected one of ${protocols.join(', ')}, the client offers ${offered.join(', ') || 'none'}`,
      );
    }
    const server = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: longestMessageBytes,
      handleProtocols: () => chosen,
    });
    this.response.detachSocket(this.#request.socket);
    this.response.off('finish', this.#end);
    const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
    this.#socket.once('close', () => reject(new StoreError('BadRequest', 'the client has gone')));
    server.handleUpgrade(this.#request, this.#socket, this.#head, resolve);
    const socket = await promise;
    keepAlive(socket, signal);
    return socket;
  }
}

function keepAlive(socket: WebSocket, signal: AbortSignal): void {
  let alive = true;
  socket.on('pong', () => (alive = true));
  socket.on('error', () => socket.terminate());
  const timer = setInterval(() => {
    // Of one that is made to wait nothing is read, no pong either.
    if (!alive && !socket.isPaused) return socket.terminate();
    alive = false;
    socket.ping();
  }, pingEveryMs);
  const stop = (): void => {
    socket.close(1001, 'the server stops');
    setTimeout(() => socket.terminate(), closedWithinMs).unref();
  };
  socket.once('close', () => {
    clearInterval(timer);
    signal.removeEventListener('abort', stop);
  });
  if (signal.aborted) stop();
  else signal.addEventListener('abort', stop, { once: true });
}
