/**
 * How the memory of what moves is moved: by the strategy that was asked for, if both nodes can do it, or else by the better one. Pure.
 */
import type { NodeState } from '../hub/node-table.ts';

export type Strategy = 'StopAndCopy' | 'PostCopy';

export interface StrategySeen {
  /** Those that are left and come to, as far as that is known. */
  readonly nodes: readonly { readonly name: string; readonly state: NodeState | undefined }[];
  /** The ranks stand still, suspended, and go on doing so. */
  readonly isSuspended: boolean;
}

export const following = 'post-copy';
/**
 * A copy of so much keeps ranks still for about a second. Of less it does for about as long as the rest of a move, and with PostCopy two
 * nodes can lose the ranks instead of one.
 */
const largeBytes = 1 << 30;

/** Why it cannot be; undefined: it can. */
export function strategyTrouble(wanted: string, seen: StrategySeen): string | undefined {
  if (wanted === 'PreCopy')
    return 'pages that ranks change cannot be tracked by this build; use Auto, StopAndCopy or PostCopy';
  const why = wanted === 'PostCopy' ? followingTrouble(seen) : undefined;
  return why === undefined ? undefined : `${why}; use Auto or StopAndCopy`;
}

/** Of one that can be. `memoryBytes`: of the largest sandbox that moves. */
export function strategyOf(wanted: string, seen: StrategySeen, memoryBytes: number): Strategy {
  if (wanted === 'PostCopy') return 'PostCopy';
  const isBetter = wanted === 'Auto' && memoryBytes >= largeBytes && followingTrouble(seen) === undefined;
  return isBetter ? 'PostCopy' : 'StopAndCopy';
}

function followingTrouble({ nodes, isSuspended }: StrategySeen): string | undefined {
  if (isSuspended) return 'the ranks are suspended, and ask for no pages';
  for (const { name, state } of nodes) {
    if (state?.hello?.features.includes(following)) continue;
    const missing = state?.hello?.missing.find((text) => text.startsWith(`${following}: `));
    return `node ${name}: ${missing?.slice(following.length + 2) ?? 'update its agent'}`;
  }
  return undefined;
}
