/**
 * What groups have used while the page was open: a sample every few seconds, an hour of them, so that a page that stays open for a
 * day keeps no more than after the first hour. Pure but for what it remembers.
 */
export interface Sample {
  readonly atMs: number;
  readonly cores: number;
  readonly memoryBytes: number;
}

const everyMs = 5000;
const most = 720;
const mostGroups = 400;

export class UsageHistory {
  readonly #samples = new Map<string, Sample[]>();

  of(uid: string): readonly Sample[] {
    return this.#samples.get(uid) ?? [];
  }

  get groups(): number {
    return this.#samples.size;
  }

  add(uid: string, sample: Sample): void {
    const samples = this.#samples.get(uid) ?? [];
    const last = samples.at(-1);
    if (last && sample.atMs - last.atMs < everyMs) return;
    samples.push(sample);
    if (samples.length > most) samples.shift();
    // What was added to last stands last, and the first is forgotten.
    this.#samples.delete(uid);
    this.#samples.set(uid, samples);
    for (const oldest of this.#samples.keys()) {
      if (this.#samples.size <= mostGroups) break;
      this.#samples.delete(oldest);
    }
  }
}
