// What a pager is told and given on its socket, in order: by this process until pages come over a link, from then on all of it by the link's
// thread, which is given the bytes that go ahead, so that no two write at once. It knows nothing of what the bytes mean.
import type { Socket } from 'node:net';
import type { LinkClient } from './link.ts';

/** As Node has it; there is no other way to the descriptor. */
interface SocketHandle {
  readonly _handle?: { readonly fd?: number } | null;
}

export class PagePipe {
  readonly #socket: Socket;
  readonly #failed: (error: unknown) => void;
  #link: LinkClient | null = null;
  /** Settles when all that this process writes itself has been written. */
  #written: Promise<void> | null = null;

  /** `failed`: nothing more can come by it. */
  constructor(socket: Socket, failed: (error: unknown) => void) {
    this.#socket = socket;
    this.#failed = failed;
  }

  write(...parts: readonly Buffer[]): void {
    if (this.#link) {
      this.#relay(Buffer.concat(parts), 0);
      return;
    }
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }

  /** So many bytes come over the link, behind these; `come`: they have. */
  carry(link: LinkClient, first: Buffer, bytes: number, come?: () => void): void {
    this.#link = link;
    this.#relay(first, bytes, come);
  }

  #relay(first: Buffer, bytes: number, come?: () => void): void {
    const relay = (): void => {
      const fd = (this.#socket as unknown as SocketHandle)._handle?.fd;
      if (fd === undefined || fd < 0 || !this.#link) throw new Error('the pager has gone');
      this.#link.relay(fd, first, bytes).then(come, this.#failed);
    };
    this.#written ??= new Promise((resolve) => this.#socket.write('', () => resolve()));
    this.#written.then(relay).catch(this.#failed);
  }
}
