// The key-value space of the group as one sandbox sees it: what past fences published, and the puts of local ranks that
// the next fence will publish.
//
// Outcomes of fences are learnt in order, each once, however they are told. A fence may fail; the puts made for it then
// go with the next one. It knows no ranks: who has entered what is the business of local-fence.ts.
import { KeyValueSpace, bytesOf, type Delta } from '../kvs.ts';

export type FenceEnd = readonly Delta[] | { readonly failed: string };

export class GroupSpace {
  readonly #bytesMax: number;
  readonly #published = new KeyValueSpace();
  /** Local puts by the fence that will publish them. */
  readonly #local = new Map<number, Map<string, string>>();
  #localBytes = 0;
  #known = 0;
  readonly #failures = new Map<number, string>();
  readonly #early = new Map<number, FenceEnd>();

  constructor(bytesMax: number, preputs: Delta) {
    this.#bytesMax = bytesMax;
    this.#published.add([preputs]);
  }

  /** Fences whose outcome was learnt: 1..known. */
  get known(): number {
    return this.#known;
  }

  get bytes(): number {
    return this.#published.bytes + this.#localBytes;
  }

  get pairs(): number {
    return this.#published.size;
  }

  /** What is published, else what a local rank has put. */
  get(key: string): string | undefined {
    const value = this.#published.get(key);
    if (value !== undefined) return value;
    for (const puts of this.#local.values()) {
      const local = puts.get(key);
      if (local !== undefined) return local;
    }
    return undefined;
  }

  /** Why a fence failed; undefined for one that did not. */
  failureOf(fence: number): string | undefined {
    return this.#failures.get(fence);
  }

  /** From the journal: a local rank was told so before. */
  noteFailure(fence: number, message: string): void {
    this.#failures.set(fence, message);
  }

  hasRoomFor(bytes: number): boolean {
    return this.bytes + bytes <= this.#bytesMax;
  }

  /** Keeps a local put for its fence. Of two with one key the first stands, and false says so. */
  keep(fence: number, key: string, value: string): boolean {
    let puts = this.#local.get(fence);
    if (puts === undefined) this.#local.set(fence, (puts = new Map()));
    if (puts.has(key)) return false;
    puts.set(key, value);
    this.#localBytes += key.length + value.length;
    return true;
  }

  /** The local puts for a fence, with those of the fences that failed just before it. */
  contributionTo(fence: number): Delta {
    let first = fence;
    while (this.#failures.has(first - 1)) first--;
    const all = new Map<string, string>();
    for (let epoch = first; epoch <= fence; epoch++) {
      for (const [key, value] of this.#local.get(epoch) ?? []) if (!all.has(key)) all.set(key, value);
    }
    return all;
  }

  /** Returns the fences that are known by it now and were not before, in order. */
  learn(fence: number, end: FenceEnd): number[] {
    if (fence <= this.#known) return [];
    this.#early.set(fence, end);
    const learnt: number[] = [];
    for (let next = this.#early.get(this.#known + 1); next !== undefined;) {
      this.#early.delete(++this.#known);
      this.#apply(this.#known, next);
      learnt.push(this.#known);
      next = this.#early.get(this.#known + 1);
    }
    return learnt;
  }

  #apply(fence: number, end: FenceEnd): void {
    if ('failed' in end) {
      this.#failures.set(fence, end.failed);
      return;
    }
    if (this.#published.bytes + end.reduce((sum, puts) => sum + bytesOf(puts), 0) > this.#bytesMax) {
      this.#failures.set(fence, `the group put more than ${String(this.#bytesMax)} bytes`);
      return;
    }
    this.#failures.delete(fence);
    this.#published.add(end);
    for (const [epoch, puts] of this.#local) {
      if (epoch > fence) continue;
      this.#local.delete(epoch);
      this.#localBytes -= bytesOf(puts);
    }
  }
}
