/**
 * The carrier Pod that a sandbox of a group with a template moves into: made before anything stops, with the label of its Migration, and
 * waited for as long as carriers are. It goes where the scheduler has put that. Pure.
 */
import type { Reason } from '../../crds/conditions.ts';
import type { CarrierView } from '../carrier/view.ts';
import type { Share } from '../carrier/split.ts';

export interface PodsSeen {
  /** All of the group. */
  readonly views: readonly CarrierView[];
  /** False while it is not known which there are. */
  readonly isKnown: boolean;
  /** From the making of one until it runs. */
  readonly timeoutMs: number;
  readonly nowMs: number;
}

export type PodTarget =
  | { readonly kind: 'on'; readonly node: string }
  /** It is to be made. */
  | { readonly kind: 'none'; readonly share: Share }
  | { readonly kind: 'waits'; readonly message: string }
  | { readonly kind: 'over'; readonly reason: Reason; readonly message: string };

/** `trouble`: why a node cannot take the sandbox, continuing "NODE ..."; undefined: it can. */
export function podTargetOf(
  share: Share,
  incarnation: number,
  trouble: (node: string) => string | undefined,
  { views, isKnown, timeoutMs, nowMs }: PodsSeen,
): PodTarget {
  if (!isKnown) return { kind: 'waits', message: 'the carrier Pods of the cluster are being listed' };
  const view = podOf(share.ordinal, incarnation, views);
  if (!view) return { kind: 'none', share };
  const { name, state, node, why } = view;
  if (view.migrationUid !== share.migrationUid)
    return { kind: 'waits', message: `carrier Pod ${name} has to go first: it was made for something else` };
  if (state === 'Ended' || state === 'Leaving')
    return { kind: 'over', reason: 'TransferFailed', message: `carrier Pod ${name} ${why}` };
  const unfit = state === 'Running' && node !== undefined ? trouble(node) : undefined;
  if (state === 'Running' && node !== undefined && unfit === undefined) return { kind: 'on', node };
  const text =
    unfit === undefined
      ? `carrier Pod ${name} ${why}`
      : `carrier Pod ${name} is on node ${node}, which ${unfit}`;
  if (nowMs - view.createdMs < timeoutMs) return { kind: 'waits', message: text };
  const within = `within ${Math.round(timeoutMs / 1000)} s`;
  return {
    kind: 'over',
    reason: 'NoTarget',
    message: `no carrier Pod ran where the ranks can go ${within}: ${text}`,
  };
}

export const podOf = (
  ordinal: number,
  incarnation: number,
  views: readonly CarrierView[],
): CarrierView | undefined =>
  views.find((view) => view.ordinal === ordinal && view.incarnation === incarnation);
