/**
 * How the memory of what moves is moved: by the strategy that was asked for, if both nodes can do it, or else by the better one. Of much
 * memory that is known only when the ranks' node has said how fast they write it. Pure.
 */
import type { NodeState } from '../hub/node-table.ts';

export type Strategy = 'StopAndCopy' | 'PreCopy' | 'PostCopy';

export interface StrategySeen {
  /** Those that are left and come to, as far as that is known. */
  readonly nodes: readonly { readonly name: string; readonly state: NodeState | undefined }[];
  /** The ranks stand still, suspended, and go on doing so. */
  readonly isSuspended: boolean;
  /** They are in carrier Pods. */
  readonly isCarried?: boolean;
}

const features = { PreCopy: 'pre-copy', PostCopy: 'post-copy' } as const;
/**
 * A copy of so much keeps ranks still for about a second. Of less it does for about as long as the rest of a move, and with PostCopy two
 * nodes can lose the ranks instead of one.
 */
const largeBytes = 1 << 30;
/** What a link of 1 Gbit/s takes while as much again is written: slower writers are copied ahead of in a few rounds. */
const slowBytesPerSecond = 64 << 20;

/** Why it cannot be; undefined: it can. */
export function strategyTrouble(wanted: string, seen: StrategySeen): string | undefined {
  if (wanted !== 'PreCopy' && wanted !== 'PostCopy') return undefined;
  const why = trouble(wanted, seen);
  return why === undefined ? undefined : `${why}; use Auto or StopAndCopy`;
}

/** Of one that can be; undefined: it is to be measured first. `memoryBytes`: of the largest sandbox that moves. */
export function strategyOf(wanted: string, seen: StrategySeen, memoryBytes: number): Strategy | undefined {
  if (wanted === 'PreCopy' || wanted === 'PostCopy') return wanted;
  if (wanted !== 'Auto' || memoryBytes < largeBytes || trouble('PostCopy', seen) !== undefined)
    return 'StopAndCopy';
  return trouble('PreCopy', seen) === undefined ? undefined : 'PostCopy';
}

/**
 * Of what was measured, by sandbox. Copied ahead, the ranks are lost with one node only, never with either of two; where they write faster
 * than that goes, or nobody can say how fast, pages follow.
 */
export function measuredStrategy(bytesPerSecond: readonly number[]): Strategy {
  return bytesPerSecond.every((rate) => rate > 0 && rate <= slowBytesPerSecond) ? 'PreCopy' : 'PostCopy';
}

function trouble(
  strategy: keyof typeof features,
  { nodes, isSuspended, isCarried }: StrategySeen,
): string | undefined {
  if (isCarried) return 'ranks in carrier Pods move as they stand still';
  if (isSuspended) return 'the ranks are suspended, and stand still anyway';
  const feature = features[strategy];
  for (const { name, state } of nodes) {
    if (state?.hello?.features.includes(feature)) continue;
    const missing = state?.hello?.missing.find((text) => text.startsWith(`${feature}: `));
    return `node ${name}: ${missing?.slice(feature.length + 2) ?? 'update its agent'}`;
  }
  return undefined;
}
