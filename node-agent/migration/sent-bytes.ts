// How much of a file that grows is on its way to the other node, and waiting until it is so much. Who sends nothing for too long is given
// up. It knows neither the file nor who sends it.
import { AgentError } from '../agent-error.ts';
import { silentAtMostMs } from './link.ts';

/** The end of a file that grows is sent with what comes after it (departure.ts). */
export const notSentYetBytes = 256 << 10;

export class SentBytes {
  #bytes = 0;
  #changed = Promise.withResolvers<void>();

  are(bytes: number): void {
    this.#bytes = bytes;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async reach(bytes: number, signal: AbortSignal): Promise<void> {
    while (this.#bytes < bytes) {
      const patience = AbortSignal.timeout(silentAtMostMs);
      const ended = AbortSignal.any([signal, patience]);
      const { promise, resolve } = Promise.withResolvers<void>();
      ended.addEventListener('abort', () => resolve(), { once: true });
      await Promise.race([this.#changed.promise, promise]);
      signal.throwIfAborted();
      if (patience.aborted)
        throw new AgentError(
          'failed',
          'TransferFailed',
          'MUSTER_TRANSFER_FAILED',
          'the node that the ranks go to has taken nothing of their memory any more',
        );
    }
  }
}
