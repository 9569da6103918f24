/**
 * Checkpoints that a group's policy takes by itself: when the next one is due, by Young's and Daly's rule where the group lets us
 * choose, and which older ones are not kept. It removes only what a policy made. Pure.
 */
import { labels } from '../../crds/names.ts';
import { apiVersion } from '../../crds/objects.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import { cutStateOf, isDone } from '../checkpoint/seen.ts';
import { conditionOf } from '../../crds/conditions.ts';
import type { Seen } from './seen.ts';
import { suspendPolicyOf } from './suspend-policy.ts';
import { activeMsOf } from './wall-time.ts';

/** Of one node, where nothing is known of its failures: a month. */
const meanTimeToFailureSeconds = 30 * 24 * 3600;
const leastIntervalSeconds = 60;
const usualCostSeconds = 10;
const usuallyKept = 2;

/** Young and Daly: the interval between checkpoints of this cost that loses the least time to failures. */
export function bestIntervalSeconds(costSeconds: number, nodes: number): number {
  const mean = meanTimeToFailureSeconds / Math.max(1, nodes);
  if (costSeconds >= 2 * mean) return mean;
  const ratio = costSeconds / (2 * mean);
  const best = Math.sqrt(2 * costSeconds * mean) * (1 + Math.sqrt(ratio) / 3 + ratio / 9) - costSeconds;
  return Math.max(leastIntervalSeconds, best);
}

/** Until the next one; undefined when the policy takes none, or one is at work. */
export function dueInMs(seen: Seen): number | undefined {
  const { group, policyCheckpoints, nowMs, sandboxes } = seen;
  const { interval } = group.spec.checkpointPolicy ?? {};
  if (interval === undefined) return undefined;
  if (policyCheckpoints.some((checkpoint) => !isDone(cutStateOf({ checkpoint })))) return undefined;
  const last = policyCheckpoints.at(-1);
  const nodes = new Set(sandboxes.map(({ node }) => node)).size;
  const seconds = interval === 'Auto' ? bestIntervalSeconds(costSecondsOf(last), nodes) : Number(interval);
  // A failed one is not tried again at once either.
  const sinceMs = Date.parse(last?.status?.finishTime ?? last?.metadata.creationTimestamp ?? '');
  const runMs = activeMsOf(group.status, nowMs);
  const passedMs = Number.isNaN(sinceMs) ? runMs : Math.min(runMs, nowMs - sinceMs);
  return Math.max(0, seconds * 1000 - passedMs);
}

/** Whether the suspension that is on record lacks its checkpoint: one that failed is not tried again. */
export function isDueOnSuspend({ group, policyCheckpoints }: Seen): boolean {
  if (group.spec.checkpointPolicy?.onSuspend !== true || suspendPolicyOf(group) !== 'Freeze') return false;
  const suspended = conditionOf(group.status?.conditions, 'Suspended');
  if (suspended?.status !== 'True') return false;
  const sinceMs = Date.parse(suspended.lastTransitionTime);
  return policyCheckpoints.every(({ metadata }) => Date.parse(metadata.creationTimestamp ?? '') < sinceMs);
}

/** What a checkpoint costs the group: how long its ranks stood still. */
function costSecondsOf(checkpoint: Checkpoint | undefined): number {
  const downtimeMs = checkpoint?.status?.downtimeMilliseconds;
  return downtimeMs === undefined ? usualCostSeconds : Math.max(0.1, downtimeMs / 1000);
}

export function policyCheckpointOf(group: ProcessGroup): Checkpoint {
  const { namespace, name = '', uid = '' } = group.metadata;
  const { copies, storage } = group.spec.checkpointPolicy ?? {};
  return {
    apiVersion,
    kind: 'Checkpoint',
    metadata: {
      ...(namespace === undefined ? {} : { namespace }),
      generateName: `${name}-auto-`,
      labels: {
        [labels.group.name]: name,
        [labels.groupUid.name]: uid,
        [labels.madeBy.name]: 'Policy',
      },
    },
    spec: {
      processGroupName: name,
      ...(copies === undefined ? {} : { copies }),
      ...(storage === undefined ? {} : { storage }),
    },
  } as Checkpoint;
}

/** Done ones beyond those that are kept; never the one that the group goes on from. */
export function notKept({ group, policyCheckpoints }: Seen): readonly Checkpoint[] {
  const keep = group.spec.checkpointPolicy?.keep ?? usuallyKept;
  const done = policyCheckpoints.filter((checkpoint) => isDone(cutStateOf({ checkpoint })));
  const ready = done.filter((checkpoint) => cutStateOf({ checkpoint }) === 'Ready');
  const older = new Set(ready.slice(0, Math.max(0, ready.length - keep)));
  // Of failed ones the latest tells why.
  const failed = done.filter((checkpoint) => cutStateOf({ checkpoint }) === 'Failed').slice(0, -1);
  return [...older, ...failed].filter(
    ({ metadata }) =>
      metadata.deletionTimestamp === undefined && metadata.uid !== group.status?.restore?.checkpointUid,
  );
}
