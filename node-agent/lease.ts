// The keeper's part in fencing (wire/fencing.ts) for one sandbox: from grants, the clock and what rank-init holds to the next row of
// the table. It does nothing itself: what is to be done is queued here until it is done. It refuses to know who grants, and
// remembers nothing that an agent started anew could not read from rank-init.
import type { HeldLease } from '../native/addon/abi.ts';
import {
  keeper,
  type KeeperAction,
  type KeeperEvent,
  type KeeperState,
  type LeaseTimes,
} from '../wire/fencing.ts';
import { stepOf } from '../wire/state-table.ts';

/** So much before the hard end nobody is let run any more: what is done about it takes its time. */
const marginNs = 250_000_000n;

export interface Times {
  readonly expiresNs: bigint;
  readonly endsNs: bigint;
}

export class Lease {
  readonly #times: LeaseTimes;
  readonly #nowNs: () => bigint;
  readonly #epoch: bigint;
  #state: KeeperState = keeper.first;
  /** When the heartbeat was sent whose grant is still to be handed on. */
  #grantedNs: bigint | null = null;
  #renewed: Times = { expiresNs: 0n, endsNs: 0n };
  readonly todo: KeeperAction[] = [];

  constructor(times: LeaseTimes, incarnation: number, nowNs: () => bigint) {
    this.#times = times;
    this.#epoch = BigInt(incarnation);
    this.#nowNs = nowNs;
  }

  get state(): KeeperState {
    return this.#state;
  }

  /** The times to renew to. */
  get renewed(): Times {
    return this.#renewed;
  }

  granted(sentNs: bigint): void {
    if (this.#grantedNs === null || sentNs > this.#grantedNs) this.#grantedNs = sentNs;
  }

  /** Whether a grant is there that the sandbox may begin to run under. */
  get isGranted(): boolean {
    const sentNs = this.#grantedNs;
    return sentNs !== null && this.#nowNs() < sentNs + nsOf(this.#times.expiresAfterMs);
  }

  /** Queues what follows from the time, a grant, and whether the hub wants the sandbox gone. The hard end is looked for first. */
  look(held: HeldLease, superseded: boolean): void {
    const nowNs = this.#nowNs();
    const { expiresNs, endsNs } = this.#timesOf(held);
    const isLeased = endsNs > 0n;
    const isRestored = held.epoch !== 0n && held.epoch !== this.#epoch;
    if (superseded) this.#step('Superseded');
    const isEnded = held.epoch === this.#epoch && held.state === 'ended';
    if (isEnded || (isLeased && nowNs >= endsNs - marginNs)) this.#step('HardEnd');
    const sentNs = this.#grantedNs;
    this.#grantedNs = null;
    if (sentNs !== null && nowNs < sentNs + nsOf(this.#times.expiresAfterMs)) this.#granted(sentNs);
    else if (isLeased ? nowNs >= expiresNs : isRestored) this.#step('Expired');
  }

  /** Until there is something to look at though nothing has happened; null: nothing. */
  dueInMs(held: HeldLease): number | null {
    const { expiresNs, endsNs } = this.#timesOf(held);
    if (endsNs === 0n || this.#state === 'Over') return null;
    const dueNs = this.#state === 'Fenced' ? endsNs - marginNs : expiresNs;
    const leftNs = dueNs - this.#nowNs();
    return leftNs <= 0n ? 0 : Number(leftNs / 1_000_000n) + 1;
  }

  /** What rank-init is about to be told counts as told. */
  #timesOf(held: HeldLease): Times {
    // What was brought back from an image holds the times of another incarnation, of another machine's clock.
    if (held.epoch !== this.#epoch) return this.#renewed;
    const later = (a: bigint, b: bigint): bigint => (a > b ? a : b);
    return {
      expiresNs: later(held.expiresNs, this.#renewed.expiresNs),
      endsNs: later(held.endsNs, this.#renewed.endsNs),
    };
  }

  #granted(sentNs: bigint): void {
    const { expiresAfterMs, endsAfterMs } = this.#times;
    this.#renewed = { expiresNs: sentNs + nsOf(expiresAfterMs), endsNs: sentNs + nsOf(endsAfterMs) };
    this.#step('Granted');
  }

  #step(event: KeeperEvent): void {
    const { state, actions, known } = stepOf(keeper, this.#state, event);
    if (!known) return;
    this.#state = state;
    this.todo.push(...actions);
  }
}

const nsOf = (ms: number): bigint => BigInt(Math.round(ms * 1e6));
