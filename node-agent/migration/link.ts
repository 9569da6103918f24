// The way beside a call by which the bulk of a sandbox goes from agent to agent: a connection of its own, over mutual TLS as the call's,
// whose bytes never come to JavaScript (native/addon/link.cc). The one who sends listens, for one connection of the node that it is
// for; until somebody has come, or where nobody can, all goes by the call. What is sent and received must be asked for in one order.
import type { Link, Native } from '../../native/addon/index.ts';
import { nodeServerName } from '../peer-identity.ts';
import type { TlsMaterial } from '../tls.ts';

/** The other side has gone when it was silent for so long. */
export const silentAtMostMs = 15_000;

interface LinkError extends Error {
  code: string;
}

abstract class LinkEnd implements Disposable {
  protected readonly link: Link;
  #next = 0;
  readonly #asked = new Map<number, PromiseWithResolvers<void>>();

  protected constructor(link: Link) {
    this.link = link;
    link.onDone = (id, errno, words) => {
      const asked = this.#asked.get(id);
      this.#asked.delete(id);
      if (errno === 0) asked?.resolve();
      else asked?.reject(failure(errno, words));
    };
  }

  [Symbol.dispose](): void {
    this.link.onDone = null;
    this.link.close();
    for (const asked of this.#asked.values()) asked.reject(new Error('the link was closed'));
    this.#asked.clear();
  }

  protected ask(start: (id: number) => void): Promise<void> {
    const asked = Promise.withResolvers<void>();
    const id = ++this.#next;
    this.#asked.set(id, asked);
    start(id);
    return asked.promise;
  }
}

const noSpace = 28;
const noQuota = 122;

function failure(errno: number, words: string): Error {
  const error = new Error(`link: ${words}`) as LinkError;
  error.code = errno === noSpace ? 'ENOSPC' : errno === noQuota ? 'EDQUOT' : 'ELINK';
  return error;
}

/** Who sends. */
export class LinkServer extends LinkEnd {
  readonly port: number;
  #isOpen = false;

  /** Null: this machine's Node cannot, or nobody can be listened for there. */
  static open(native: Native, { ca, cert, key }: TlsMaterial, host: string, node: string): LinkServer | null {
    const link = native.link(ca, cert, key, silentAtMostMs);
    if (link === null) return null;
    try {
      return new LinkServer(link, link.listen(host), node);
    } catch {
      link.close();
      return null;
    }
  }

  private constructor(link: Link, port: number, node: string) {
    super(link);
    this.port = port;
    this.ask((id) => link.accept(id, node)).then(
      () => (this.#isOpen = true),
      () => undefined, // closed before anybody came
    );
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  send(fd: number, offset: number, length: number): Promise<void> {
    return this.ask((id) => this.link.send(id, fd, BigInt(offset), BigInt(length)));
  }
}

/** Who receives. */
export class LinkClient extends LinkEnd {
  static open(
    native: Native,
    { ca, cert, key }: TlsMaterial,
    { host, port, node }: { host: string; port: number; node: string },
  ): LinkClient | null {
    const link = native.link(ca, cert, key, silentAtMostMs);
    if (link === null) return null;
    const client = new LinkClient(link);
    // When nobody is reached the other side does not use it.
    client.ask((id) => link.connect(id, host, port, nodeServerName(node))).catch(() => undefined);
    return client;
  }

  receive(fd: number, offset: number, length: number): Promise<void> {
    return this.ask((id) => this.link.receive(id, fd, BigInt(offset), BigInt(length)));
  }

  /** To a stream: these bytes, and behind them so many that come. */
  relay(fd: number, first: Buffer, length: number): Promise<void> {
    return this.ask((id) => this.link.relay(id, fd, first, BigInt(length)));
  }
}
