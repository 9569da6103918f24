// How far the node's clock is ahead of the hub's, from heartbeats: the hub says its time in the answer, and half of the way there
// and back is taken off. Of the last answers the one that came quickest tells most. A clock that is set, forwards or back, is
// noticed by how far it moved against one that nobody sets; what was known before is then worth nothing.
import { steadyMs } from './node-sampler.ts';

const answersKept = 8;
const mostRoundTripMs = 2_000;
const setByMs = 200;

interface Reading {
  readonly offsetMs: number;
  readonly roundTripMs: number;
}

export class ClockOffset {
  readonly #wallMs: () => number;
  readonly #steadyMs: () => number;
  #readings: Reading[] = [];
  #difference: number | null = null;
  /** How often, and by how much last, the clock was set while we looked. */
  jumps = 0;
  lastJumpMs = 0;

  constructor(wallMs: () => number = Date.now, steady: () => number = steadyMs) {
    this.#wallMs = wallMs;
    this.#steadyMs = steady;
  }

  get offsetMs(): number | null {
    const [first, ...others] = this.#readings;
    if (!first) return null;
    return others.reduce((best, each) => (each.roundTripMs < best.roundTripMs ? each : best), first).offsetMs;
  }

  /** A heartbeat was answered: sent at `sentMs` of the clock that nobody sets. */
  answered(sentMs: number, hubMs: number): void {
    this.look();
    const roundTripMs = this.#steadyMs() - sentMs;
    if (hubMs <= 0 || roundTripMs < 0 || roundTripMs > mostRoundTripMs) return;
    const offsetMs = this.#wallMs() - roundTripMs / 2 - hubMs;
    this.#readings = [...this.#readings.slice(1 - answersKept), { offsetMs, roundTripMs }];
  }

  /** Whether the clock was set since the look before. */
  look(): void {
    const difference = this.#wallMs() - this.#steadyMs();
    if (this.#difference !== null && Math.abs(difference - this.#difference) > setByMs) {
      this.jumps += 1;
      this.lastJumpMs = difference - this.#difference;
      this.#readings = [];
    }
    this.#difference = difference;
  }
}
