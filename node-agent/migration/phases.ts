// How long the steps take that ranks stand still for, by name, as the agent's log tells them.
import { steadyMs } from '../monitor/node-sampler.ts';

/** Of this node's clock that never jumps, whichever agent asks. */
export const steadyUs = (): number => Math.round(steadyMs() * 1000);

export class Phases {
  readonly tookMs: Record<string, number> = {};
  #lastMs = performance.now();

  /** What has gone on since the one before. */
  end(name: string): void {
    const nowMs = performance.now();
    this.tookMs[name] = Math.round((nowMs - this.#lastMs) * 1000) / 1000;
    this.#lastMs = nowMs;
  }

  tookUs(name: string): number {
    return Math.round((this.tookMs[name] ?? 0) * 1000);
  }
}
