/**
 * What all benchmarks print: one JSON line a figure on standard output, medians of rounds in which ours and the peer's take
 * turns, so that a busy machine slows both alike. Words for people go to standard error.
 */

export interface Figure {
  readonly bench: string;
  readonly value: number;
  readonly unit: string;
  /** The peer's figure by the peer's name, with the ratio of ours to it. */
  readonly against?: Readonly<Record<string, number>>;
  readonly ratio?: number;
  readonly [parameter: string]: unknown;
}

export function print(figure: Figure): void {
  console.log(JSON.stringify(figure));
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

export function rounded(value: number, digits = 3): number {
  return Number(value.toPrecision(digits));
}

export interface Pair<T = number> {
  readonly ours: () => Promise<T>;
  readonly theirs: () => Promise<T>;
}

export interface Medians {
  readonly ours: number;
  readonly theirs: number;
}

/** Both sides once to warm up, then in turns; the side that begins changes with every round. */
async function roundsOf<T>(rounds: number, { ours, theirs }: Pair<T>): Promise<{ ours: T[]; theirs: T[] }> {
  await ours();
  await theirs();
  const values = { ours: [] as T[], theirs: [] as T[] };
  for (let round = 0; round < rounds; round += 1) {
    const order = round % 2 === 0 ? (['ours', 'theirs'] as const) : (['theirs', 'ours'] as const);
    for (const side of order) values[side].push(await (side === 'ours' ? ours() : theirs()));
  }
  return values;
}

export async function interleaved(rounds: number, pair: Pair): Promise<Medians> {
  const { ours, theirs } = await roundsOf(rounds, pair);
  return { ours: median(ours), theirs: median(theirs) };
}

/** Several figures a run. */
export async function interleavedSets<Name extends string>(
  rounds: number,
  names: readonly Name[],
  pair: Pair<Record<Name, number>>,
): Promise<Record<Name, Medians>> {
  const { ours, theirs } = await roundsOf(rounds, pair);
  const of = (name: Name): Medians => ({
    ours: median(ours.map((set) => set[name])),
    theirs: median(theirs.map((set) => set[name])),
  });
  return Object.fromEntries(names.map((name) => [name, of(name)])) as Record<Name, Medians>;
}

export function printPair(
  bench: string,
  parameters: object,
  peer: string,
  { ours, theirs }: Medians,
  unit: string,
): void {
  print({
    bench,
    ...parameters,
    value: rounded(ours),
    unit,
    against: { [peer]: rounded(theirs) },
    ratio: rounded(ours / theirs),
  });
}
