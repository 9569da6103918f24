// Carries what the pager of a sandbox asks for to the node that the sandbox left, over mutual TLS, and the pages back, until all of them
// are there; of a pager that has all of them it hears how far it is, no more. Whenever one of the two connections breaks both are made anew: the pager asks again for all that it has not got, and the
// other side remembers nothing. It never gives up by itself.
import type { Socket } from 'node:net';
import type { SandboxId } from '../../wire/agent-types.ts';
import { errnoOf } from '../agent-error.ts';
import type { Backend } from '../backend.ts';
import type { Image } from '../checkpoint/image.ts';
import { peerClient, peerCredentials } from '../peer-client.ts';
import { connectPager, dataHead, goMessage, isDone, PagerReader } from './pager.ts';

export interface PageOrigin {
  readonly node: string;
  readonly address: string;
  /** As it is there. */
  readonly id: SandboxId;
  readonly migrationUid: string;
}

export interface PageFeedEvents {
  left: (bytes: number) => void;
  done: () => void;
  /** The pager is gone, and pages are missing: what was restored is of no use. */
  lost: () => void;
}

const againAfterMs = 250;

export class PageFeed {
  readonly #backend: Backend;
  readonly #image: Image;
  readonly #events: PageFeedEvents;
  #origin: PageOrigin | null;
  #timer: NodeJS.Timeout | null = null;
  #drop: (() => void) | null = null;
  #say: ((bytes: Buffer) => void) | null = null;
  #goes = false;
  #stopped = false;

  /** `origin`: null, all pages are in the image. */
  constructor(backend: Backend, image: Image, origin: PageOrigin | null, events: PageFeedEvents) {
    this.#backend = backend;
    this.#image = image;
    this.#origin = origin;
    this.#events = events;
  }

  /** Its agent may be elsewhere after it was started anew. */
  set origin(origin: PageOrigin) {
    this.#origin = origin;
  }

  begin(): void {
    this.#again();
  }

  /** Settles once the pager is connected. */
  async start(): Promise<void> {
    await this.#connect();
  }

  /** What was restored runs: pages that nobody waits for are fetched too. */
  go(): void {
    if (this.#goes) return;
    this.#goes = true;
    this.#say?.(goMessage());
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#drop?.();
  }

  #again(): void {
    if (this.#stopped || this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#connect().catch((error: unknown) => {
        this.#backend.log.warn({ err: error }, 'pages are asked for again');
        this.#again();
      });
    }, againAfterMs);
  }

  async #connect(): Promise<void> {
    let socket;
    try {
      socket = await connectPager(this.#image);
    } catch (error) {
      if (isDone(this.#image)) return this.#finish();
      if (!['ENOENT', 'ECONNREFUSED'].includes(errnoOf(error) ?? '')) throw error;
      this.#stopped = true;
      this.#events.lost();
      return;
    }
    const { log } = this.#backend;
    const { node = '' } = this.#origin ?? {};
    const call = this.#origin && this.#ask(this.#origin, socket);
    const drop = (error?: unknown): void => {
      if (this.#drop !== drop) return;
      this.#drop = null;
      this.#say = null;
      socket.destroy();
      call?.cancel();
      if (error !== undefined) log.info({ err: error, node }, 'connection for pages broken');
      if (isDone(this.#image)) this.#finish();
      else this.#again();
    };
    this.#drop = drop;
    this.#say = (bytes) => void socket.write(bytes);
    if (this.#goes) this.#say(goMessage());
    const reader = new PagerReader({
      wanted: (wanted) => {
        call?.write(wanted);
      },
      left: (bytes) => {
        this.#events.left(bytes);
      },
    });
    call?.on('error', drop);
    call?.on('end', drop);
    socket.on('data', (bytes: Buffer) => {
      reader.receive(bytes);
    });
    socket.on('error', drop);
    socket.on('close', () => {
      drop();
    });
  }

  #ask({ node, address, id, migrationUid }: PageOrigin, socket: Socket) {
    const { wire, tls } = this.#backend;
    const call = peerClient(wire, peerCredentials(tls), { node, address }).pages();
    call.on('data', ({ pid, address: at, data }) => {
      socket.cork();
      socket.write(dataHead(pid, at, data.length));
      socket.write(data);
      socket.uncork();
    });
    call.write({ id, migrationUid });
    return call;
  }

  #finish(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#events.left(0);
    this.#events.done();
  }
}
