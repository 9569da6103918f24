// Who of one sandbox has entered the fence that comes next, and what the death of a rank does to it.
//
// A fence is contributed once: when every rank that takes part has entered it, or when a death fails it. Ranks that
// finalized or are gone take part no longer. It knows no keys and no requests.
import type { RankState } from './rank.ts';

export class LocalFence {
  #contributed = 0;
  #takingPart = 0;
  #inside = 0; // of those that take part, the ones in fence contributed+1
  #blocked = false;
  #absentTold = false;

  constructor(ranks: Iterable<RankState>) {
    for (const state of ranks) {
      this.#contributed = Math.max(this.#contributed, state.fences);
      if (state.takesPart) this.#takingPart++;
    }
  }

  /** Fences 1..contributed were entered by all, or failed from here. */
  get contributed(): number {
    return this.#contributed;
  }

  enter(state: RankState, fence: number): void {
    state.entered = fence;
    if (fence === this.#contributed + 1 && state.takesPart) this.#inside++;
  }

  /** To be called before the rank is marked finalized or gone. */
  leave(state: RankState): void {
    if (!state.takesPart) return;
    this.#takingPart--;
    if (state.entered === this.#contributed + 1) this.#inside--;
  }

  /** A rank died and the job is about to end: nothing completes from here any more. */
  block(): void {
    this.#blocked = true;
  }

  /** The outcome of a fence came before this sandbox contributed to it. */
  overtaken(fence: number): void {
    if (this.#contributed >= fence) return;
    this.#contributed = fence;
    this.#inside = 0;
  }

  /** The fence that all have entered just now, once; else null. */
  ready(): number | null {
    if (this.#takingPart === 0 || this.#inside < this.#takingPart || this.#blocked) return null;
    this.#inside = 0;
    return ++this.#contributed;
  }

  /** The fence that fails by the death of this rank; null when a failed fence has told of it already. */
  failBy(state: RankState, hasFailed: (fence: number) => boolean): number | null {
    const next = state.fences + 1;
    if (this.#contributed >= next && (hasFailed(next) || this.#contributed > next)) return null;
    // It may have died in a fence that is contributed already: then the one behind it fails.
    this.#contributed++;
    this.#inside = 0;
    return this.#contributed;
  }

  /** The first fence that nobody of this sandbox takes part in, once; else null. */
  absentFrom(): number | null {
    if (this.#takingPart > 0 || this.#absentTold || this.#blocked) return null;
    this.#absentTold = true;
    return this.#contributed + 1;
  }
}
