/**
 * Which foreground groups still have their client. Renewing is in memory only, so that it costs the store nothing; after
 * a restart every client has a whole lease to come back. Whether a group has a client at all stands in its annotation.
 */
import { clientLeaseSeconds } from '../crds/names.ts';
import type { Clock } from './runtime/clock.ts';

export class ClientLeaseBook {
  readonly #clock: Clock;
  readonly #leaseMs: number;
  readonly #renewedMs = new Map<string, number>();

  constructor(clock: Clock, leaseMs = clientLeaseSeconds * 1000) {
    this.#clock = clock;
    this.#leaseMs = leaseMs;
  }

  /** The client of the group with this uid is there. */
  renew(uid: string): void {
    this.#renewedMs.set(uid, this.#clock.steady());
  }

  /** Until the client counts as gone; asking for the first time begins the lease. */
  leftMs(uid: string): number {
    if (!this.#renewedMs.has(uid)) this.renew(uid);
    return Math.max(0, this.#renewedMs.get(uid)! + this.#leaseMs - this.#clock.steady());
  }

  forget(uid: string): void {
    this.#renewedMs.delete(uid);
  }
}
