/**
 * The ranks of one node while they are being dealt out, kept as runs with one stride each, so that a million ranks
 * dealt cyclically cost no more than their nodes. Prints as a rank set.
 */
interface Run {
  readonly first: number;
  count: number;
  stride: number;
}

export class RankRuns {
  readonly node: string;
  readonly #runs: Run[] = [];
  count = 0;

  constructor(node: string) {
    this.node = node;
  }

  /** Ranks come in ascending order. */
  add(first: number, count: number): void {
    this.count += count;
    const last = this.#runs.at(-1);
    if (last) {
      const next = last.first + last.count * last.stride;
      if (last.count === 1 && count === 1) {
        last.stride = first - last.first;
        last.count = 2;
        return;
      }
      if (next === first && (count === 1 || last.stride === 1)) {
        last.count += count;
        return;
      }
      if (last.count === 1 && first === last.first + 1) {
        last.count += count;
        last.stride = 1;
        return;
      }
    }
    this.#runs.push({ first, count, stride: 1 });
  }

  /** Both together, in ascending order. */
  merge(other: RankRuns): RankRuns {
    const ranks = [...this, ...other].sort((a, b) => a - b);
    const both = new RankRuns(this.node);
    for (const rank of ranks) both.add(rank, 1);
    return both;
  }

  /** Pieces of at most so many ranks. */
  split(most: number): RankRuns[] {
    const pieces: RankRuns[] = [];
    let piece: RankRuns | undefined;
    for (const rank of this) {
      if (!piece || piece.count === most) pieces.push((piece = new RankRuns(this.node)));
      piece.add(rank, 1);
    }
    return pieces;
  }

  *[Symbol.iterator](): Generator<number> {
    for (const { first, count, stride } of this.#runs)
      for (let i = 0; i < count; i++) yield first + i * stride;
  }

  toString(): string {
    return this.#runs.map(textOf).join(',');
  }
}

function textOf({ first, count, stride }: Run): string {
  const last = first + (count - 1) * stride;
  if (count === 1) return String(first);
  if (stride === 1) return `${first}-${last}`;
  return count === 2 ? `${first},${last}` : `${first}-${last}:${stride}`;
}
