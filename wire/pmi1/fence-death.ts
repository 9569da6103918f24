// The words for a fence that failed by the end of a rank, and the way back from them. Failures of fences travel through
// the job's tree as text, since fences may fail for other reasons too; who has to know the rank reads it from there.

export function deathText(rank: number, fence: number): string {
  return `rank ${String(rank)} died in or before fence ${String(fence)}`;
}

/** The rank by whose end the fence failed; null when it failed by something else. */
export function deadRankOf(text: string): number | null {
  const rank = /^rank (\d+) died in or before fence \d+$/.exec(text)?.[1];
  return rank === undefined ? null : Number(rank);
}
