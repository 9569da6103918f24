/**
 * What the drain of a node asks of a group by the policies Checkpoint and Suspend: to be saved with a copy off the node and to leave. It
 * goes on elsewhere at once, or when the drain is taken back. What cannot be saved runs on where it is and is tried again later; when
 * stands in the hold. Pure. Who is drained and why is node-monitor/treatment.ts; Migrate and Kill are the work of the NodeMonitor's
 * controller.
 */
import { timeOf } from '../../crds/conditions.ts';
import { nodeListText, parseNodeList } from '../../crds/node-list.ts';
import type { ProcessGroup, ProcessGroupHold } from '../../crds/types.gen.ts';
import type { PlacedImage } from '../checkpoint/copies.ts';
import { leavingBy, type DrainPolicy, type Treatment } from '../node-monitor/treatment.ts';
import type { Standing } from '../hub/node-table.ts';
import type { Assignment } from '../placement/placement-status.ts';
import { isSavedFromEviction } from './eviction.ts';
import type { Seen } from './seen.ts';
import { suspendPolicyOf } from './suspend-policy.ts';
import { suspensionFailure, suspensionStateOf } from './suspension.ts';

export const drainHold = 'Drain' as const;
/** Reasons of the hold. */
const drained = 'NodeDrained';
export const hindered = 'Hindered';
export const failed = 'CannotBeSaved';

export interface DrainSeen {
  /** Nodes that it is to leave, or had to. */
  readonly nodes: readonly string[];
  readonly policy: 'Checkpoint' | 'Suspend';
  /** Why it cannot be saved as things are, for people. */
  readonly obstacle?: string | undefined;
  /** Every image that it is saved as is on a node that is not drained. */
  readonly copied: boolean;
}

export interface DrainPorts {
  readonly treatment: (node: string) => Treatment;
  /** A drain of the node has tried to move the group off it, and failed. */
  readonly couldNotMove: (group: ProcessGroup, node: string) => boolean;
  /** Nodes that can keep images. */
  readonly keepers: () => readonly string[];
}

/** Copies of its images are waited for no longer: a group that stands still for nothing helps nobody. */
const copiedWithinMs = 10 * 60_000;
const soonestRetryMs = 15_000;
const latestRetryMs = 10 * 60_000;

export function drainOf(
  group: ProcessGroup,
  assignments: readonly (Assignment & { readonly standing?: Standing })[],
  saved: readonly PlacedImage[] | undefined,
  { treatment, keepers, couldNotMove }: DrainPorts,
): DrainSeen | undefined {
  const { status, metadata } = group;
  if (status?.finishTime !== undefined || metadata.deletionTimestamp !== undefined) return undefined;
  const policyOf = (node: string): DrainPolicy | undefined => {
    const { policy } = treatment(node).drain ?? {};
    return policy && leavingBy(group, policy, couldNotMove(group, node));
  };
  const placed = [...new Set(assignments.map(({ node }) => node))];
  // Of one that has left, only who is to stay away until the drain is over.
  const asking =
    placed.length > 0
      ? placed.filter((node) => policyOf(node) === 'Checkpoint' || policyOf(node) === 'Suspend')
      : parseNodeList(holdOf(group)?.nodes ?? '').filter((node) => policyOf(node) === 'Suspend');
  if (asking.length === 0) return undefined;
  const isLeft = (node: string): boolean => policyOf(node) !== undefined;
  const away = assignments.find(({ standing = 'Connected' }) => standing !== 'Connected');
  const obstacle =
    away !== undefined
      ? `nothing is heard of ${away.node}, where ranks of it are: start the agent there again`
      : keepers().every(isLeft)
        ? 'no other node can keep its images: start an agent that can, or uncordon one'
        : undefined;
  return {
    nodes: asking,
    policy: asking.some((node) => policyOf(node) === 'Suspend') ? 'Suspend' : 'Checkpoint',
    ...(obstacle === undefined ? {} : { obstacle }),
    copied: saved !== undefined && saved.every(({ nodes }) => nodes.some((node) => !isLeft(node))),
  };
}

const holdOf = ({ status }: ProcessGroup): ProcessGroupHold | undefined =>
  status?.holds?.find(({ name }) => name === drainHold);

/** How the group is to stand still, by its user's word or a drain's; undefined: it is to run. */
export function suspensionWish(seen: Seen): 'Freeze' | 'Checkpoint' | 'Stop' | undefined {
  const { group, drain } = seen;
  const own = group.spec.suspend === true ? suspendPolicyOf(group) : undefined;
  if (own === undefined && isSavedFromEviction(seen)) return 'Checkpoint';
  if (drain === undefined || own === 'Checkpoint' || own === 'Stop') return own;
  return hindranceOf(seen) === undefined ? 'Checkpoint' : own;
}

/** What is saved for a drain may end only when it can be brought back without the nodes that are drained. */
export function mayEndSaved(seen: Seen): boolean {
  return seen.drain === undefined || seen.drain.copied || isSavedFromEviction(seen);
}

interface Hindrance {
  readonly reason: typeof hindered | typeof failed;
  readonly text: string;
  readonly retryMs?: number;
}

/** The drain asks in vain, for now. A failure counts until it is tried again, an obstacle while it is there. */
function hindranceOf(seen: Seen): Hindrance | undefined {
  const { drain, group, nowMs } = seen;
  if (drain === undefined) return undefined;
  const before = holdOf(group);
  const stored = before?.reason === failed ? Date.parse(before.retryTime ?? '') : undefined;
  const failure = failureOf(seen);
  if (stored !== undefined && (stored > nowMs || failure !== undefined))
    return { reason: failed, text: before?.message ?? '', retryMs: stored };
  if (failure !== undefined) {
    const sinceMs = Date.parse(before?.since ?? '');
    const pauseMs = Number.isNaN(sinceMs) ? 0 : nowMs - sinceMs;
    const retryMs = nowMs + Math.min(latestRetryMs, Math.max(soonestRetryMs, pauseMs));
    return {
      reason: failed,
      text: textOf(drain, `${failure}; it stays where it is, and is tried again`),
      retryMs,
    };
  }
  if (drain.obstacle === undefined || suspensionStateOf(seen) !== 'None' || seen.sandboxes.length === 0)
    return undefined;
  return { reason: hindered, text: textOf(drain, `${drain.obstacle}; until then it stays where it is`) };
}

function failureOf(seen: Seen): string | undefined {
  if (suspensionStateOf(seen) === 'Failed') return `the group could not be saved: ${suspensionFailure(seen)}`;
  return isUncopied(seen)
    ? `the group was saved, but after ${copiedWithinMs / 60_000} minutes no other node has its images`
    : undefined;
}

function isUncopied(seen: Seen): boolean {
  const { drain } = seen;
  return drain !== undefined && suspensionStateOf(seen) === 'Saved' && !drain.copied && copyLeftMs(seen) <= 0;
}

function copyLeftMs({ saving, nowMs }: Pick<Seen, 'saving' | 'nowMs'>): number {
  const readyMs = Date.parse(saving?.status?.finishTime ?? '');
  return Number.isNaN(readyMs) ? copiedWithinMs : readyMs + copiedWithinMs - nowMs;
}

/** A checkpoint that was taken for a suspension which nobody asks for any more, or that is in the way of the next try. */
export function isSpent(seen: Seen): boolean {
  if (!seen.saving) return false;
  const hindrance = hindranceOf(seen);
  if (hindrance === undefined) return suspensionWish(seen) === undefined;
  return isUncopied(seen) || (hindrance.retryMs ?? Infinity) <= seen.nowMs;
}

/** Until time alone brings something. */
export function drainDueInMs(seen: Seen): number | undefined {
  if (seen.drain === undefined) return undefined;
  const { retryMs } = hindranceOf(seen) ?? {};
  if (retryMs !== undefined) return Math.max(1, retryMs - seen.nowMs);
  return suspensionStateOf(seen) === 'Saved' && !seen.drain.copied
    ? Math.max(1, copyLeftMs(seen))
    : undefined;
}

export function drainHoldOf(seen: Seen): ProcessGroupHold | undefined {
  const { drain, group, nowMs } = seen;
  if (drain === undefined) return undefined;
  const hindrance = hindranceOf(seen);
  return {
    name: drainHold,
    reason: hindrance?.reason ?? drained,
    message: (hindrance?.text ?? textOf(drain, progressOf(seen, drain))).slice(0, 1024),
    nodes: nodeListText(drain.nodes),
    since: holdOf(group)?.since ?? timeOf(new Date(nowMs)),
    ...(hindrance?.retryMs === undefined ? {} : { retryTime: timeOf(new Date(hindrance.retryMs)) }),
  };
}

function textOf({ nodes, policy }: DrainSeen, what: string): string {
  return `${nodeListText(nodes)} ${nodes.length === 1 ? 'is' : 'are'} being drained, policy ${policy}: ${what}`;
}

function progressOf(seen: Seen, { nodes, copied }: DrainSeen): string {
  const { saving, restore, sandboxes } = seen;
  if (sandboxes.length === 0)
    return `the group ${restore ? `was saved as Checkpoint ${restore.name}` : 'has left'}; it goes on when ${nodeListText(nodes)} may be used again, or elsewhere once the policy is Checkpoint`;
  const name = saving?.metadata.name;
  if (name === undefined) return 'the group is to be saved';
  if (suspensionStateOf(seen) !== 'Saved') return `the group is being saved as Checkpoint ${name}`;
  if (!copied)
    return `the group is saved as Checkpoint ${name}, whose images are being copied to other nodes`;
  return `the group is saved as Checkpoint ${name}, and ends there`;
}
