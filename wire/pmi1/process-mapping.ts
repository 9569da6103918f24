// PMI_process_mapping: which ranks share a sandbox, as MPICH reads it: `(vector,(X,Y,Z),...)`.
//
// A block deals Z ranks to each of Y consecutive sandboxes from ordinal X on; when the blocks are used up dealing
// starts again at the first. MPICH shares memory between ranks of one ordinal, so the map must be right or absent: one
// that does not fit is null, and the client then exchanges host names instead.

/** `ranksOf[ordinal]` are the ranks of that sandbox, in any order; together exactly 0..size-1. */
export function processMapping(ranksOf: readonly (readonly number[])[], maxBytes: number): string | null {
  const ordinals = ordinalsByRank(ranksOf);
  const size = ordinals.length;
  if (size === 0) return null;
  const period = periodOf(ordinals);
  let text = '(vector';
  let rank = 0;
  while (rank < period) {
    const first = ordinals[rank] as number;
    const ranksEach = runLength(ordinals, rank, period);
    let count = 1;
    rank += ranksEach;
    while (
      rank < period &&
      ordinals[rank] === first + count &&
      runLength(ordinals, rank, period) === ranksEach
    ) {
      count++;
      rank += ranksEach;
    }
    text += `,(${String(first)},${String(count)},${String(ranksEach)})`;
    if (text.length >= maxBytes) return null;
  }
  return `${text})`;
}

function ordinalsByRank(ranksOf: readonly (readonly number[])[]): Int32Array {
  const size = ranksOf.reduce((sum, ranks) => sum + ranks.length, 0);
  const ordinals = new Int32Array(size).fill(-1);
  ranksOf.forEach((ranks, ordinal) => {
    for (const rank of ranks) {
      const taken = ordinals[rank];
      if (taken === -1) ordinals[rank] = ordinal;
      else {
        const why =
          taken === undefined ? `is outside 0..${String(size - 1)}` : `is also in sandbox ${String(taken)}`;
        throw new Error(
          `MUSTER_PLACEMENT_INVALID: rank ${String(rank)} of sandbox ${String(ordinal)} ${why}; expected each rank exactly once`,
        );
      }
    }
  });
  return ordinals;
}

function runLength(ordinals: Int32Array, from: number, end: number): number {
  let to = from + 1;
  while (to < end && ordinals[to] === ordinals[from]) to++;
  return to - from;
}

/** The shortest beginning that, dealt again and again, gives the whole sequence (its last turn may be cut short). */
function periodOf(ordinals: Int32Array): number {
  const borders = new Int32Array(ordinals.length);
  for (let i = 1; i < ordinals.length; i++) {
    let border = borders[i - 1] as number;
    while (border > 0 && ordinals[i] !== ordinals[border]) border = borders[border - 1] as number;
    borders[i] = ordinals[i] === ordinals[border] ? border + 1 : 0;
  }
  return ordinals.length - (borders[ordinals.length - 1] as number);
}
