/**
 * The only place of the controllers that tells the time. Everything else is handed a Clock, so that tests hand in
 * their own. `now` is milliseconds since the epoch by the machine's clock; `steady` never jumps, and is what
 * leases and time-outs are measured by.
 */
export interface Timer extends Disposable {
  readonly dueMs: number;
}

export interface Clock {
  now(): number;
  steady(): number;
  /** Calls `then` once after so many milliseconds, unless the timer is disposed of first. */
  after(delayMs: number, then: () => void): Timer;
}

/** The longest delay that setTimeout takes; a longer one is waited out in steps. */
const longestMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  steady: () => performance.now(),
  after(delayMs, then) {
    const dueMs = performance.now() + delayMs;
    let handle: NodeJS.Timeout;
    const arm = (): void => {
      const leftMs = Math.max(0, dueMs - performance.now());
      handle = setTimeout(() => (leftMs > longestMs ? arm() : then()), Math.min(leftMs, longestMs));
      handle.unref();
    };
    arm();
    return { dueMs, [Symbol.dispose]: () => clearTimeout(handle) };
  },
};
