/**
 * Gathers a snapshot of one Checkpoint from what is in memory: objects, facts of sandboxes and of images, standings. It decides
 * nothing.
 */
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import type { Hub } from '../hub/hub.ts';
import { expandPlacement, type Assignment } from '../placement/placement-status.ts';
import { assignmentsOf } from '../process-group/observe.ts';
import { restoredGroup, restoreNameOf } from '../process-group/restore.ts';
import { groupKeyOf } from '../runtime/by-group.ts';
import type { Clock } from '../runtime/clock.ts';
import { keyOf, type Key } from '../runtime/reconciler.ts';
import { candidatesFor, feature, isStartedAnew } from './candidates.ts';
import { cutStateOf, isDone, type CheckpointSeen, type Member } from './seen.ts';

export interface ObservePorts {
  readonly hub: Pick<Hub, 'facts' | 'nodes'>;
  readonly clock: Clock;
  readonly groups: ReadonlyMap<Key, ProcessGroup>;
  readonly checkpoints: ReadonlyMap<Key, Checkpoint>;
  /** The Checkpoint of each group that was the last to begin, by the keys of both: `checkpoints` may not show it yet. */
  readonly begun?: ReadonlyMap<Key, Key>;
  /** Images there are as good as gone. */
  readonly isDrained?: (node: string) => boolean;
}

/** Nodes that are there and can keep images. */
export function keepersOf({ nodes }: Pick<Hub, 'nodes'>, needed = feature): string[] {
  return [...nodes.all()]
    .filter(({ node, hello }) => nodes.standing(node) === 'Connected' && hello?.features.includes(needed))
    .map(({ node }) => node)
    .sort();
}

export function observe(checkpoint: Checkpoint, ports: ObservePorts): CheckpointSeen {
  const { hub, clock, isDrained = () => false } = ports;
  const { metadata, status } = checkpoint;
  const uid = metadata.uid ?? '';
  const named = ports.groups.get(groupKeyOf(checkpoint));
  const recorded = status?.processGroupUid;
  const isSame = recorded === undefined || named?.metadata.uid === recorded;
  const group = named && isSame ? wholeOf(named, ports) : undefined;
  const assignments = status?.placement
    ? expandPlacement(status.placement)
    : group
      ? assignmentsOf(group)
      : [];
  const groupUid = recorded ?? group?.metadata.uid ?? '';
  const standingOf = (node: string) => hub.nodes.standing(node);
  const members = assignments.map((each) => memberOf(uid, groupUid, each, ports));
  const needs = {
    isIsolated: group?.status?.network !== undefined,
    startedAnew: isStartedAnew(members[0]?.fact?.engine ?? status?.engine),
  };
  return Object.freeze({
    nowMs: clock.now(),
    checkpoint,
    group,
    members,
    images: hub.facts.imagesOf(uid).map((held) => ({ ...held, standing: standingOf(held.node) })),
    waitsFor: earlierOf(checkpoint, ports),
    restoring: restoringOf(uid, ports),
    candidates: candidatesFor(assignments, needs, hub.nodes),
    keepers: keepersOf(hub, needs.startedAnew ? 'freezer' : feature).filter((node) => !isDrained(node)),
    isDrained,
    standingOf,
  });
}

/** What it does not say itself, since it goes on from another checkpoint, from there. */
function wholeOf(group: ProcessGroup, { checkpoints }: ObservePorts): ProcessGroup {
  const { namespace = 'default' } = group.metadata;
  const name = restoreNameOf(group);
  return name === undefined
    ? group
    : restoredGroup(group, checkpoints.get(keyOf({ metadata: { namespace, name } })));
}

function restoringOf(checkpointUid: string, { groups }: ObservePorts): string[] {
  return [...groups.values()].flatMap(({ metadata, status }) => {
    const { restore, placement, runningTime, finishTime } = status ?? {};
    const begun = placement !== undefined && runningTime === undefined && finishTime === undefined;
    return begun && restore?.checkpointUid === checkpointUid ? [metadata.name ?? ''] : [];
  });
}

function memberOf(uid: string, groupUid: string, assignment: Assignment, { hub }: ObservePorts): Member {
  const { node, ordinal, incarnation } = assignment;
  const id = { groupUid, ordinal, incarnation };
  const known = hub.facts.get(node, id)?.fact;
  const standing = hub.nodes.standing(node);
  return {
    ...assignment,
    standing,
    sandboxState: known?.state,
    lost: hub.facts.loss(node, id) !== undefined || hub.facts.wasForgotten(node, id),
    fact: known?.checkpoint?.checkpointUid === uid ? known.checkpoint : undefined,
  };
}

/** In the order in which they were asked for; but whoever has begun is the first. */
export function earlierOf(
  checkpoint: Checkpoint,
  { checkpoints, begun }: Pick<ObservePorts, 'checkpoints' | 'begun'>,
): string | undefined {
  if (isDone(cutStateOf({ checkpoint }))) return undefined;
  const first = begun?.get(groupKeyOf(checkpoint));
  if (first === keyOf(checkpoint)) return undefined;
  const holder = first === undefined ? undefined : checkpoints.get(first);
  if (holder && !isDone(cutStateOf({ checkpoint: holder }))) return holder.metadata.name;
  const { namespace, uid } = checkpoint.metadata;
  const place = ({ metadata, status }: Checkpoint): string =>
    `${status?.startTime === undefined ? 1 : 0} ${metadata.creationTimestamp ?? ''} ${metadata.uid ?? ''}`;
  for (const other of checkpoints.values()) {
    if (other.metadata.uid === uid || other.metadata.namespace !== namespace) continue;
    if (other.spec.processGroupName !== checkpoint.spec.processGroupName) continue;
    if (!isDone(cutStateOf({ checkpoint: other })) && place(other) < place(checkpoint))
      return other.metadata.name;
  }
  return undefined;
}
