// Figures of the last hour in bounded memory: means over steps of one length in a ring, one ring a length. Times are of a clock
// that nobody sets, so a wall clock that jumps moves nothing; steps in which nothing was measured stay empty (NaN), also when the
// machine slept through all of them. It knows columns, not what they mean.

export interface Step {
  readonly stepMs: number;
  readonly points: number;
}

export interface HistoryTier {
  /** When the last step ends, by the clock that was given. */
  readonly endMs: number;
  readonly stepMs: number;
  readonly columns: number;
  /** Oldest first, columns of a step beside one another. */
  readonly values: readonly number[];
}

export class History {
  readonly columns: number;
  readonly #rings: readonly Ring[];

  constructor(columns: number, steps: readonly Step[]) {
    this.columns = columns;
    this.#rings = steps.map((step) => new Ring(columns, step));
  }

  add(nowMs: number, figures: readonly number[]): void {
    for (const ring of this.#rings) ring.add(nowMs, figures);
  }

  /** The finest first. */
  tiers(): HistoryTier[] {
    return this.#rings.map((ring) => ring.tier()).filter(({ values }) => values.length > 0);
  }

  get bytes(): number {
    return this.#rings.reduce((sum, ring) => sum + ring.bytes, 0);
  }
}

class Ring {
  readonly #step: Step;
  readonly #columns: number;
  readonly #values: Float32Array;
  readonly #sum: Float64Array;
  #added = 0;
  /** Number of the step that is being filled; -1: none yet. */
  #at = -1;
  #first = 0;

  constructor(columns: number, step: Step) {
    this.#step = step;
    this.#columns = columns;
    this.#values = new Float32Array(columns * step.points).fill(NaN);
    this.#sum = new Float64Array(columns);
  }

  get bytes(): number {
    return this.#values.byteLength + this.#sum.byteLength;
  }

  add(nowMs: number, figures: readonly number[]): void {
    const at = Math.floor(nowMs / this.#step.stepMs);
    if (at > this.#at) this.#move(at);
    this.#added += 1;
    const base = this.#base(this.#at);
    for (let column = 0; column < this.#columns; column++) {
      const sum = (this.#sum[column] ?? 0) + (figures[column] ?? 0);
      this.#sum[column] = sum;
      this.#values[base + column] = sum / this.#added;
    }
  }

  tier(): HistoryTier {
    const { stepMs, points } = this.#step;
    const from = Math.max(this.#first, this.#at - points + 1);
    const values: number[] = [];
    for (let at = from; this.#at >= 0 && at <= this.#at; at++) {
      const base = this.#base(at);
      for (let column = 0; column < this.#columns; column++) values.push(this.#values[base + column] ?? NaN);
    }
    return { endMs: (this.#at + 1) * stepMs, stepMs, columns: this.#columns, values };
  }

  /** To another step; those in between are emptied, each once however many there are. */
  #move(at: number): void {
    if (this.#at < 0) this.#first = at;
    else {
      const { points } = this.#step;
      for (let empty = Math.max(this.#at + 1, at - points + 1); empty <= at; empty++) {
        const base = this.#base(empty);
        this.#values.fill(NaN, base, base + this.#columns);
      }
    }
    this.#at = at;
    this.#added = 0;
    this.#sum.fill(0);
  }

  #base(at: number): number {
    return (at % this.#step.points) * this.#columns;
  }
}
