/**
 * The client's side of being attached to a job: connects, and again whenever the connection is cut, until the job has ended, the user
 * wants out, or the server stays away for too long. What comes and what is typed goes through in order, each byte once. It knows
 * neither terminal nor command line.
 */
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { clientHeader } from '../controllers/subresources/client-header.ts';
import type { RunEnd } from '../controllers/subresources/exit-code.ts';
import { endOfStatus } from '../controllers/subresources/exit-status.ts';
import { groupVerbPath } from '../controllers/subresources/paths.ts';
import { isStoreError, type ObjectKey } from '../store/object-store.ts';
import {
  attachProtocol,
  decodeFromServer,
  encodeFromClient,
  type FromServer,
  type Notice,
} from '../wire/attach-frames.ts';
import type { LogFrame } from '../wire/log-frames.ts';
import type { Client } from './client.ts';
import { CommandError } from './errors.ts';
import { KeptInput } from './kept-input.ts';
import { LogPlace, type Reading } from './log-place.ts';
import { ShownTeller } from './shown-teller.ts';

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

export interface AttachOptions {
  readonly key: ObjectKey;
  readonly uid: string;
  readonly reading: Reading;
  /** This client's own secret: by it another connection of the same client is known. */
  readonly token: string;
  /** What the ranks are to read; nothing when left out. */
  readonly input?: Readable | undefined;
  output(frame: LogFrame): Promise<void>;
  notice(notice: Notice): void;
  /** The ranks wait for this reader when their log is full: it tells what it has written out. */
  readonly tellsShown?: boolean;
  /** Of the terminal, where there is one; `resized` is set to be told of changes. */
  readonly size?: { now(): TerminalSize; onChange(listener: () => void): Disposable } | undefined;
}

const awayAtMostMs = 30_000;
const againAfterMs = 200;

/** How the job ended; undefined when the signal ended the attaching. */
export async function attachTo(
  client: Client,
  options: AttachOptions,
  signal: AbortSignal,
): Promise<RunEnd | undefined> {
  const attachment = new Attachment(client, options);
  let awaySinceMs: number | undefined;
  let connectedOnce = false;
  while (!signal.aborted) {
    try {
      const socket = await attachment.connect();
      connectedOnce = true;
      awaySinceMs = undefined;
      const end = await attachment.converse(socket, signal);
      if (end) {
        attachment.end();
        return end;
      }
    } catch (error) {
      if (!isStoreError(error, 'Unavailable', 'TooManyRequests', 'InternalError') || !connectedOnce)
        throw error;
    }
    if (signal.aborted) break;
    awaySinceMs ??= Date.now();
    if (Date.now() - awaySinceMs > awayAtMostMs) {
      throw new CommandError(
        `the control plane has been away for 30 s; "muster attach ${options.key.name}" can be called again`,
      );
    }
    await pause(againAfterMs, undefined, { signal }).catch(() => undefined);
  }
  return undefined;
}

class Attachment {
  readonly #client: Client;
  readonly #options: AttachOptions;
  readonly #place: LogPlace;
  readonly #input: KeptInput | undefined;
  readonly #teller: ShownTeller;
  #send: (() => void) | undefined;
  /** The input is no longer read: nobody takes it. */
  #refused = false;

  constructor(client: Client, options: AttachOptions) {
    this.#client = client;
    this.#options = options;
    this.#place = new LogPlace(options.reading);
    this.#teller = new ShownTeller((positions) => {
      const path = `${groupVerbPath(options.key, 'shown')}?uid=${options.uid}`;
      return client.request('POST', path, { positions, client: options.token });
    });
    if (options.tellsShown !== true) this.#teller.end();
    if (!options.input) return;
    const input = (this.#input = new KeptInput());
    options.input.on('data', (bytes: Buffer) => {
      if (this.#refused) return;
      input.push(bytes);
      if (input.isFull) options.input?.pause();
      this.#send?.();
    });
    options.input.once('end', () => {
      input.end();
      this.#send?.();
    });
  }

  connect(): Promise<WebSocket> {
    const { key, uid, token } = this.#options;
    const query = this.#place.query();
    query.set('uid', uid);
    if (this.#input) query.set('stdin', 'true');
    return this.#client.webSocket({
      path: groupVerbPath(key, 'attach'),
      query,
      protocols: [attachProtocol],
      headers: { [clientHeader]: token },
    });
  }

  /** One connection to its end. Undefined: it was cut. */
  async converse(socket: WebSocket, signal: AbortSignal): Promise<RunEnd | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<RunEnd | undefined>();
    const stop = (): void => socket.terminate();
    signal.addEventListener('abort', stop, { once: true });
    const { size } = this.#options;
    const tellSize = (): void =>
      size && socket.send(encodeFromClient({ kind: 'resize', ...size.now() }), () => undefined);
    using _resizing = size?.onChange(tellSize);
    tellSize();
    this.#input?.disconnected();
    this.#teller.again(this.#place.positions);
    this.#send = () => {
      for (const message of this.#input?.take() ?? [])
        socket.send(encodeFromClient(message), () => undefined);
    };
    let end: RunEnd | undefined;
    let work = Promise.resolve();
    let queued = 0;
    socket.on('message', (data: Buffer) => {
      const message = decodeFromServer(data);
      if (!message) return;
      if (message.kind === 'status') end = endOfStatus(message.text);
      // The terminal is slower than the network: what it has not taken yet is bounded.
      if (++queued > 8) socket.pause();
      work = work
        .then(() => this.#take(message))
        .catch((error: unknown) => {
          reject(error instanceof Error ? error : new Error(String(error)));
          socket.terminate();
        })
        .finally(() => {
          if (--queued <= 8) socket.resume();
        });
    });
    socket.once('close', () => {
      void work.then(() => resolve(end));
    });
    // It may have been cut before anybody listened.
    if (socket.readyState === socket.CLOSED) resolve(undefined);
    socket.resume();
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', stop);
      this.#send = undefined;
    }
  }

  /** Nothing is told any more. */
  end(): void {
    this.#teller.end();
  }

  async #take(message: FromServer): Promise<void> {
    const { output, notice, input } = this.#options;
    switch (message.kind) {
      case 'output':
        if (!this.#place.took(message.frame)) return;
        await output(message.frame);
        this.#teller.again(this.#place.positionOf(message.frame));
        return;
      case 'window':
        this.#input?.window(message.safe, message.upTo);
        this.#send?.();
        if (this.#input?.isFull === false) input?.resume();
        return;
      case 'notice':
        if (message.notice.kind === 'NoInput') {
          this.#refused = true;
          input?.resume();
        }
        return notice(message.notice);
      case 'status':
        return;
    }
  }
}
