// The text form of where sandboxes are, status.placement: neighbours whose rank sets are each other's
// shifted copies share one entry, those moved more often than the others listed aside, so that 4,096 nodes stay far below 64 KiB. `compressPlacement`
// and `expandPlacement` undo each other. Pure; who is placed where is decided elsewhere.
import { nodeListText, parseNodeList } from './node-list.ts';
import { RankSet } from './rank-set.ts';
import type { ProcessGroupStatusPlacement } from './types.gen.ts';

export interface SandboxPlace {
  ordinal: number;
  node: string;
  incarnation: number;
  ranks: RankSet;
}

/** Takes sandboxes in the order of their ordinals. */
export function compressPlacement(sandboxes: readonly SandboxPlace[]): ProcessGroupStatusPlacement[] {
  const out: ProcessGroupStatusPlacement[] = [];
  for (let i = 0; i < sandboxes.length;) {
    const first = sandboxes[i]!;
    const rankStep = stepBetween(first.ranks, sandboxes[i + 1]?.ranks);
    let end = i + 1;
    while (rankStep !== undefined && end < sandboxes.length) {
      const next = sandboxes[end]!;
      const along =
        next.ordinal === first.ordinal + (end - i) &&
        stepBetween(sandboxes[end - 1]!.ranks, next.ranks) === rankStep;
      if (!along) break;
      end++;
    }
    const several = end - i > 1 && rankStep !== undefined;
    if (!several) end = i + 1;
    const run = sandboxes.slice(i, end);
    const incarnation = run.reduce((least, sandbox) => Math.min(least, sandbox.incarnation), Infinity);
    const raised = raisedIn(run, incarnation);
    out.push({
      ordinal: first.ordinal,
      nodes: nodeListText(run.map((sandbox) => sandbox.node)),
      incarnation,
      ...(raised.length > 0 ? { raised } : {}),
      ranks: first.ranks.toString(),
      ...(several ? { rankStep } : {}),
    });
    i = end;
  }
  return out;
}

export function expandPlacement(entries: readonly ProcessGroupStatusPlacement[] | undefined): SandboxPlace[] {
  return (entries ?? []).flatMap(({ ordinal, nodes, incarnation, raised, ranks, rankStep = 0 }) => {
    const higher = new Map<number, number>();
    for (const group of raised ?? [])
      for (const each of RankSet.parse(group.ordinals)) higher.set(each, group.incarnation);
    const first = RankSet.parse(ranks);
    return parseNodeList(nodes).map((node, index) => ({
      ordinal: ordinal + index,
      node,
      incarnation: higher.get(ordinal + index) ?? incarnation,
      ranks: index === 0 ? first : first.shift(index * rankStep),
    }));
  });
}

function raisedIn(run: readonly SandboxPlace[], base: number): { ordinals: string; incarnation: number }[] {
  const groups = new Map<number, number[]>();
  for (const { ordinal, incarnation } of run) {
    if (incarnation === base) continue;
    const group = groups.get(incarnation);
    if (group) group.push(ordinal);
    else groups.set(incarnation, [ordinal]);
  }
  return [...groups].map(([incarnation, ordinals]) => ({
    ordinals: RankSet.from(ordinals).toString(),
    incarnation,
  }));
}

/** What shifts the first set onto the second; nothing when they have not the same shape. */
function stepBetween(a: RankSet, b: RankSet | undefined): number | undefined {
  if (!b || a.ranges.length !== b.ranges.length || a.size !== b.size || a.size === 0) return undefined;
  const step = b.ranges[0]!.first - a.ranges[0]!.first;
  const alike = a.ranges.every((range, i) => {
    const other = b.ranges[i]!;
    return (
      other.first - range.first === step && other.last - range.last === step && other.stride === range.stride
    );
  });
  return alike && step > 0 ? step : undefined;
}
