// Carries what the pager of a sandbox asks for to the node that the sandbox left, over mutual TLS, and the pages back, until all of them
// are there: over a link of their own where there is one, else by the call. Of a pager that has all of them it hears how far it is, no more.
// Whenever one of the connections breaks all are made anew: the pager asks again for all that it has not got, and the other side
// remembers nothing. It never gives up by itself.
import type { PagesChunk, SandboxId } from '../../wire/agent-types.ts';
import { hostOf } from '../../wire/endpoint.ts';
import { errnoOf } from '../agent-error.ts';
import type { Backend } from '../backend.ts';
import type { Image } from '../checkpoint/image.ts';
import { peerClient, peerCredentials } from '../peer-client.ts';
import { LinkClient } from './link.ts';
import { PagePipe } from './page-pipe.ts';
import { connectPager, dataHead, goMessage, isDone, PagerReader, type Wanted } from './pager.ts';

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
  /** The last link brought nothing: the next connection does without. */
  #noLink = false;

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
    const ending = new DisposableStack();
    const drop = (error?: unknown): void => {
      if (this.#drop !== drop) return;
      this.#drop = null;
      this.#say = null;
      ending.dispose();
      if (error !== undefined) log.info({ err: error, node }, 'connection for pages broken');
      if (isDone(this.#image)) this.#finish();
      else this.#again();
    };
    ending.adopt(socket, (each) => each.destroy());
    const pipe = new PagePipe(socket, drop);
    const ask = this.#origin && this.#ask(this.#origin, pipe, ending, drop);
    this.#drop = drop;
    this.#say = (bytes) => pipe.write(bytes);
    if (this.#goes) this.#say(goMessage());
    const reader = new PagerReader({
      wanted: (wanted) => ask?.(wanted),
      left: (bytes) => {
        this.#events.left(bytes);
      },
    });
    socket.on('data', (bytes: Buffer) => {
      reader.receive(bytes);
    });
    socket.on('error', drop);
    socket.on('close', () => {
      drop();
    });
  }

  /** Gives what asks the other side for pages; they go into the pipe as they come. */
  #ask(
    { node, address, id, migrationUid }: PageOrigin,
    pipe: PagePipe,
    ending: DisposableStack,
    drop: (error?: unknown) => void,
  ): (wanted: Wanted) => void {
    const { wire, tls, native } = this.#backend;
    const client = ending.adopt(peerClient(wire, peerCredentials(tls), { node, address }), (each) =>
      each.close(),
    );
    const call = ending.adopt(client.pages(), (each) => each.cancel());
    let link: LinkClient | null = null;
    const take = ({ pid, address: at, data, carried, linkPort }: PagesChunk): void => {
      if (ending.disposed) return;
      if (linkPort > 0) {
        link = LinkClient.open(native, tls, { host: hostOf(address), port: linkPort, node });
        if (link) ending.use(link);
        this.#noLink = link !== null; // until it has brought something
      } else if (carried === 0) pipe.write(dataHead(pid, at, data.length), data);
      else if (link) pipe.carry(link, dataHead(pid, at, carried), carried, () => (this.#noLink = false));
      else drop(new Error('pages come over a link that there is not'));
    };
    call.on('data', take);
    call.on('error', drop);
    call.on('end', drop);
    call.write({ id, migrationUid, link: !this.#noLink });
    return (wanted) => void call.write(wanted);
  }

  #finish(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#events.left(0);
    this.#events.done();
  }
}
