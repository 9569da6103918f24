// A set of ranks, kept as sorted strided ranges such as "0-3,7,8-20:2", so that a million ranks cost as much
// as four. Pure and immutable. It knows nothing of groups: whether ranks exist is the caller's question.
// Sets of up to 4,096 ranks print the same text however they were made; for larger ones ask `equals`.
// No text, however contrived, costs more than one visit to each of its ranks.

export interface RankRange {
  readonly first: number;
  readonly last: number;
  /** Distance of neighbours; 1 for a single rank. */
  readonly stride: number;
}

export class RankSetError extends Error {
  readonly code = 'MUSTER_RANK_SET';
}

/** One past the largest rank there can be. */
export const rankLimit = 1_048_576;
const part = /^(\d{1,7})(?:-(\d{1,7})(?::(\d{1,7}))?)?$/;

export class RankSet implements Iterable<number> {
  static readonly empty = new RankSet([]);
  /** Disjoint; in the order of their first ranks. Strided ranges may interleave. */
  readonly ranges: readonly RankRange[];
  readonly size: number;

  private constructor(ranges: readonly RankRange[]) {
    this.ranges = ranges;
    this.size = ranges.reduce((sum, range) => sum + countOf(range), 0);
  }

  /** Reads "0-3,7,8-20:2"; throws RankSetError naming the part that is wrong. A rank named twice is an error. */
  static parse(text: string): RankSet {
    if (text === '') return RankSet.empty;
    const ranges = text.split(',').map((word) => parsePart(word, text));
    const clash = overlapOf(ranges);
    if (clash)
      throw new RankSetError(`rank ${clash.rank} is named twice in "${shorten(text)}"; name each rank once`);
    return RankSet.of(ranges);
  }

  /** All ranks from first to last. */
  static range(first: number, last: number, stride = 1): RankSet {
    return last < first ? RankSet.empty : RankSet.of([trim({ first, last, stride })]);
  }

  /** Any ranks, in any order; repeated ones count once. */
  static from(ranks: Iterable<number>): RankSet {
    return new RankSet(compress([...new Set(ranks)].sort((a, b) => a - b)));
  }

  private static of(ranges: RankRange[]): RankSet {
    return new RankSet(normalize(ranges));
  }

  get first(): number | undefined {
    return this.ranges[0]?.first;
  }

  get last(): number | undefined {
    return this.size === 0 ? undefined : lastOf(this.ranges);
  }

  has(rank: number): boolean {
    for (const range of this.ranges) {
      if (range.first > rank) return false;
      if (rank <= range.last && (rank - range.first) % range.stride === 0) return true;
    }
    return false;
  }

  /** In ascending order. */
  *[Symbol.iterator](): Generator<number> {
    if (!interleaves(this.ranges)) {
      for (const { first, last, stride } of this.ranges)
        for (let rank = first; rank <= last; rank += stride) yield rank;
      return;
    }
    const marks = new Uint8Array(this.last! + 1);
    for (const { first, last, stride } of this.ranges)
      for (let rank = first; rank <= last; rank += stride) marks[rank] = 1;
    for (let rank = marks.indexOf(1); rank >= 0; rank = marks.indexOf(1, rank + 1)) yield rank;
  }

  union(other: RankSet): RankSet {
    if (this.size === 0) return other;
    if (other.size === 0) return this;
    const added = other.ranges.flatMap((range) => this.ranges.reduce(subtractAll, [range]));
    return RankSet.of([...this.ranges, ...added]);
  }

  minus(other: RankSet): RankSet {
    return RankSet.of(this.ranges.flatMap((range) => other.ranges.reduce(subtractAll, [range])));
  }

  intersect(other: RankSet): RankSet {
    return this.minus(this.minus(other));
  }

  equals(other: RankSet): boolean {
    return this.size === other.size && this.minus(other).size === 0;
  }

  /** Every rank moved by this many. */
  shift(by: number): RankSet {
    return new RankSet(
      this.ranges.map((r) => ({ first: r.first + by, last: r.last + by, stride: r.stride })),
    );
  }

  toString(): string {
    return this.ranges.map(textOf).join(',');
  }

  toJSON(): string {
    return this.toString();
  }
}

/** A rank that two of these ranges share, and which two those are, by position. */
export function overlapOf(ranges: readonly RankRange[]): { rank: number; a: number; b: number } | undefined {
  const order = ranges.map((_, index) => index).sort((a, b) => ranges[a]!.first - ranges[b]!.first);
  if (ranges.length > 64 && ranges.some((range) => range.stride > 1)) return overlapByMarks(ranges, order);
  let open: number[] = [];
  for (const b of order) {
    const range = ranges[b]!;
    open = open.filter((a) => ranges[a]!.last >= range.first);
    for (const a of open) {
      const rank = commonRank(ranges[a]!, range);
      if (rank !== undefined) return { rank, a, b };
    }
    open.push(b);
  }
  return undefined;
}

/** Ends at the first rank seen twice, so it takes no more steps than there are ranks. */
function overlapByMarks(ranges: readonly RankRange[], order: readonly number[]) {
  const owner = new Int32Array(lastOf(ranges) + 1);
  for (const b of order) {
    const { first, last, stride } = ranges[b]!;
    for (let rank = first; rank <= last; rank += stride) {
      if (owner[rank] !== 0) return { rank, a: owner[rank]! - 1, b };
      owner[rank] = b + 1;
    }
  }
  return undefined;
}

function parsePart(word: string, text: string): RankRange {
  const match = part.exec(word);
  if (!match) {
    const where = text === word ? '' : ` in "${shorten(text)}"`;
    throw new RankSetError(
      `"${shorten(word)}"${where} is not a rank, a range a-b or a range with stride a-b:s`,
    );
  }
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  const stride = match[3] === undefined ? 1 : Number(match[3]);
  if (Math.max(first, last) >= rankLimit)
    throw new RankSetError(`"${word}" goes beyond the largest rank there can be, ${rankLimit - 1}`);
  if (last < first) throw new RankSetError(`range "${word}" ends before it begins; write "${last}-${first}"`);
  if (stride === 0) throw new RankSetError(`range "${word}" has stride 0; the stride is at least 1`);
  return trim({ first, last, stride });
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function lastOf(ranges: readonly RankRange[]): number {
  return ranges.reduce((last, range) => Math.max(last, range.last), 0);
}

function countOf(range: RankRange): number {
  return (range.last - range.first) / range.stride + 1;
}

/** The same ranks with `last` one of them. */
function trim({ first, last, stride }: RankRange): RankRange {
  const end = last - ((last - first) % stride);
  return { first, last: end, stride: end === first ? 1 : stride };
}

function textOf({ first, last, stride }: RankRange): string {
  if (first === last) return String(first);
  return stride === 1 ? `${first}-${last}` : `${first}-${last}:${stride}`;
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** x with a * x = 1 modulo m, for coprime a and m. */
function inverse(a: number, m: number): number {
  let [r0, r1, x0, x1] = [m, a % m, 0, 1];
  while (r1 > 0) {
    const quotient = Math.floor(r0 / r1);
    [r0, r1, x0, x1] = [r1, r0 - quotient * r1, x1, x0 - quotient * x1];
  }
  return ((x0 % m) + m) % m;
}

/** The smallest rank that both hold, by the Chinese remainder theorem. */
function commonRank(a: RankRange, b: RankRange): number | undefined {
  const low = Math.max(a.first, b.first);
  const high = Math.min(a.last, b.last);
  const divisor = gcd(a.stride, b.stride);
  const distance = b.first - a.first;
  if (low > high || distance % divisor !== 0) return undefined;
  const modulus = b.stride / divisor;
  const wanted = (((distance / divisor) % modulus) + modulus) % modulus;
  const steps = modulus === 1 ? 0 : (wanted * inverse(a.stride / divisor, modulus)) % modulus;
  const period = a.stride * modulus;
  const any = a.first + steps * a.stride;
  const rank = any + Math.ceil((low - any) / period) * period;
  return rank <= high ? rank : undefined;
}

function subtractAll(ranges: RankRange[], taken: RankRange): RankRange[] {
  return ranges.flatMap((range) => subtract(range, taken));
}

function subtract(range: RankRange, taken: RankRange): RankRange[] {
  const hit = commonRank(range, taken);
  if (hit === undefined) return [range];
  const { first, last, stride } = range;
  const step = (stride / gcd(stride, taken.stride)) * taken.stride;
  const end = Math.min(last, taken.last);
  const lastHit = hit + Math.floor((end - hit) / step) * step;
  const out: RankRange[] = [];
  if (hit > first) out.push(trim({ first, last: hit - stride, stride }));
  if (lastHit > hit && step > stride) {
    const gaps = step / stride - 1;
    const periods = (lastHit - hit) / step;
    if (gaps <= periods) {
      for (let i = 1; i <= gaps; i++)
        out.push(trim({ first: hit + i * stride, last: lastHit - step + i * stride, stride: step }));
    } else {
      for (let at = hit; at < lastHit; at += step)
        out.push(trim({ first: at + stride, last: at + step - stride, stride }));
    }
  }
  if (lastHit < last) out.push(trim({ first: lastHit + stride, last, stride }));
  return out;
}

function interleaves(ranges: readonly RankRange[]): boolean {
  return ranges.some((range, i) => i > 0 && ranges[i - 1]!.last > range.first);
}

/** Sorts, and joins neighbours as long as that makes the text shorter. Takes disjoint ranges. */
function normalize(input: readonly RankRange[]): RankRange[] {
  const sorted = [...input].sort((a, b) => a.first - b.first);
  const count = sorted.reduce((sum, range) => sum + countOf(range), 0);
  if (count <= 4096) return compress(ranksOf(sorted, count));
  return joined(sorted);
}

function ranksOf(sorted: readonly RankRange[], count: number): Float64Array {
  const ranks = new Float64Array(count);
  let at = 0;
  for (const { first, last, stride } of sorted) for (let r = first; r <= last; r += stride) ranks[at++] = r;
  return interleaves(sorted) ? ranks.sort() : ranks;
}

function joined(sorted: readonly RankRange[]): RankRange[] {
  const out: RankRange[] = [];
  for (const range of sorted) {
    const before = out.at(-1);
    const alike =
      before &&
      (before.stride === range.stride || (range.first === range.last && before.last > before.first));
    if (alike && range.first === before.last + before.stride) {
      out[out.length - 1] = { first: before.first, last: range.last, stride: before.stride };
    } else out.push(range);
  }
  return out;
}

/** Greedy: the longest run with one stride; strided runs only from three ranks on. */
function compress(ranks: ArrayLike<number>): RankRange[] {
  const out: RankRange[] = [];
  for (let i = 0; i < ranks.length;) {
    const first = ranks[i]!;
    const stride = i + 1 < ranks.length ? ranks[i + 1]! - first : 1;
    let end = i;
    while (end + 1 < ranks.length && ranks[end + 1]! - ranks[end]! === stride) end++;
    // A strided run gives its last rank to a following run of neighbours.
    if (stride > 1 && end + 1 < ranks.length && ranks[end + 1]! - ranks[end]! === 1) end--;
    if (end <= i || (stride > 1 && end - i < 2)) {
      out.push({ first, last: first, stride: 1 });
      i++;
    } else {
      out.push({ first, last: ranks[end]!, stride });
      i = end + 1;
    }
  }
  return out;
}
