/**
 * All carriers of a group, or none: which Pods to make, which to let go, and whether the ranks have a place now. A group waits with
 * whatever Pods it has until all run, but not for ever: then all are let go, so that two groups that each hold half of the nodes do
 * not wait for each other. Pure.
 */
import type { Reason } from '../../crds/conditions.ts';
import type { Placing } from '../placement/place.ts';
import type { CarrierView } from './view.ts';
import type { Share } from './split.ts';

export interface CarrierPolicy {
  /** Until the last carrier runs, from the making of the first. */
  readonly timeoutMs: number;
  /** After all were let go, until they are made again. */
  readonly againAfterMs: number;
}

export const carrierPolicy: CarrierPolicy = { timeoutMs: 300_000, againAfterMs: 30_000 };

export interface GangSeen {
  readonly shares: readonly Share[];
  readonly incarnation: number;
  /** All Pods of the group, those of earlier incarnations too. */
  readonly views: readonly CarrierView[];
  readonly nowMs: number;
  /** Nodes that no Pod is to be placed on now. */
  readonly avoided?: readonly string[];
  /** Since the carriers were let go, and why; undefined when they were not. */
  readonly released: { readonly sinceMs: number; readonly why: string } | undefined;
  /** Why no sandbox can be built on this node now; undefined when one can. */
  readonly nodeTrouble: (node: string, ordinal: number) => string | undefined;
}

export interface Gang {
  readonly placing: Placing;
  readonly make: readonly Share[];
  readonly release: readonly CarrierView[];
  /** Said with a release of carriers that could have gone on waiting. */
  readonly why?: string;
  readonly againAfterMs?: number;
}

export function gangOf(seen: GangSeen, policy: CarrierPolicy = carrierPolicy): Gang {
  const { shares, views, incarnation, nowMs, released } = seen;
  const stale = views.filter((view) => view.incarnation !== incarnation);
  const own = views.filter((view) => view.incarnation === incarnation);
  const trouble = own.find(({ state }) => state === 'Ended' || state === 'Leaving');
  if (trouble) {
    // What runs beside it would wait for nothing.
    const why = `carrier Pod ${trouble.name} ${trouble.why}`;
    return { ...waiting('WaitingForCarriers', why), release: [...stale, ...own].filter(isHeld), why };
  }
  if (own.length === 0 && released) {
    const leftMs = released.sinceMs + policy.againAfterMs - nowMs;
    if (leftMs > 0)
      return {
        ...waiting('CarriersTimedOut', released.why),
        release: stale.filter(isHeld),
        againAfterMs: leftMs,
      };
  }
  const outdated = own.filter((view) => isOutdated(view, seen));
  if (outdated.length > 0)
    return {
      ...waiting('WaitingForCarriers', 'nodes that carrier Pods were kept from may be used again'),
      release: [...stale, ...outdated].filter(isHeld),
    };
  const byOrdinal = new Map(own.map((view) => [view.ordinal, view]));
  const missing = shares.filter(({ ordinal }) => !byOrdinal.has(ordinal));
  const notYet = own.filter(({ state, node }) => state !== 'Running' || node === undefined);
  const silent = own.flatMap(({ name, node, state, ordinal }) => {
    const why = state === 'Running' && node !== undefined ? seen.nodeTrouble(node, ordinal) : undefined;
    return why === undefined ? [] : [`${name} is on node ${node}, which ${why}`];
  });
  if (missing.length + notYet.length + silent.length === 0) {
    const sandboxes = shares.map(({ ordinal, ranks, rankCount }) => ({
      ordinal, ranks, rankCount,
      node: byOrdinal.get(ordinal)?.node ?? '',
    })); // prettier-ignore
    return { placing: { kind: 'placed', sandboxes }, make: [], release: stale.filter(isHeld) };
  }
  const what = [...notYet.map(({ name, why }) => `${name} ${why}`), ...silent];
  const text = `${own.length - notYet.length} of ${shares.length} carrier Pods run${what.length === 0 ? '' : `: ${listed(what)}`}`;
  const first = Math.min(...own.map(({ createdMs }) => createdMs));
  const leftMs = first + policy.timeoutMs - nowMs;
  if (leftMs <= 0) {
    const why = `not all carriers ran within ${Math.round(policy.timeoutMs / 1000)} s, all were let go: ${text}`;
    return {
      ...waiting('CarriersTimedOut', why),
      release: views.filter(isHeld),
      why,
      againAfterMs: policy.againAfterMs,
    };
  }
  const again = own.length === 0 ? {} : { againAfterMs: leftMs };
  return { ...waiting('WaitingForCarriers', text), make: missing, release: stale.filter(isHeld), ...again };
}

/** It waits for the scheduler, and is kept from a node that it may go to by now: another one is made in its place. */
function isOutdated(
  { state, node, ordinal, avoids }: CarrierView,
  { shares, avoided = [] }: GangSeen,
): boolean {
  if (state !== 'Pending' || node !== undefined) return false;
  const now = new Set([...avoided, ...(shares.find((each) => each.ordinal === ordinal)?.avoided ?? [])]);
  return avoids.some((each) => !now.has(each));
}

/** Why a placed sandbox has lost, or is about to lose, the Pod that it lives in. */
export function carrierLossOf(
  ordinal: number,
  incarnation: number,
  views: readonly CarrierView[],
): { readonly carrierLoss?: string; readonly carrierLeaves?: boolean } {
  const view = views.find((each) => each.ordinal === ordinal && each.incarnation === incarnation);
  if (!view) return { carrierLoss: 'its carrier Pod is gone' };
  if (view.state === 'Running' || view.state === 'Pending') return {};
  return { carrierLoss: `carrier Pod ${view.name} ${view.why}`, carrierLeaves: view.state === 'Leaving' };
}

/** Not told to go yet. An ended one holds nothing but its name, which a new one may need. */
export const isHeld = ({ state }: CarrierView): boolean => state !== 'Leaving';

function waiting(reason: Reason, message: string): { placing: Placing; make: readonly Share[] } {
  return { placing: { kind: 'waiting', reason, message }, make: [] };
}

const mostNamed = 5;
const listed = (parts: readonly string[]): string =>
  parts.length <= mostNamed
    ? parts.join('; ')
    : `${parts.slice(0, mostNamed).join('; ')}; and ${parts.length - mostNamed} more`;
