/**
 * The status of a Checkpoint, from one snapshot and what follows from it. Pure. Ready: restorable while its nodes live. Durable:
 * survives the loss of any one node. Failed is terminal, and excludes both. The phase is only for printing.
 */
import { conditionOf, setCondition, timeOf, type Reason } from '../../crds/conditions.ts';
import { annotations } from '../../crds/names.ts';
import { nodeListText, parseNodeList } from '../../crds/node-list.ts';
import type { Condition } from '../../crds/objects.ts';
import { bytesText } from '../../crds/quantity.ts';
import type { CheckpointStatus, ProcessGroup, ProcessGroupSpec } from '../../crds/types.gen.ts';
import { hasReached, type CutState } from '../../wire/checkpoint-protocol.ts';
import { compressPlacement } from '../placement/placement-status.ts';
import { identityOf } from '../spec-of.ts';
import { toldBy, waitsForText, type Advance } from './advance.ts';
import { copiesWanted, storageOf, manifestDigestOf, placedImages, type PlacedImage } from './copies.ts';
import type { CheckpointSeen, Member } from './seen.ts';

type State = readonly [status: Condition['status'], reason: Reason, message: string];

const printed = {
  Waiting: 'Pending',
  Preparing: 'Preparing',
  Dumping: 'Dumping',
  Committing: 'Dumping',
  Saving: 'Saving',
  Ready: 'Ready',
  Aborting: 'Failed',
  Failed: 'Failed',
} as const satisfies Record<CutState, NonNullable<CheckpointStatus['phase']>>;

export function statusOf(seen: CheckpointSeen, advance: Advance): CheckpointStatus {
  const { checkpoint, nowMs } = seen;
  const before = checkpoint.status ?? {};
  const { generation } = checkpoint.metadata;
  const now = timeOf(new Date(nowMs));
  const { to } = advance;
  const images = to === 'Ready' ? placedImages(seen.images) : [];
  const begun = advance.from === 'Waiting' && to === 'Preparing' ? begunStatus(seen, now) : {};
  const ready = to === 'Ready' && advance.from !== 'Ready' ? readyStatus(seen, now) : {};
  const failed = to === 'Failed' && before.finishTime === undefined ? { finishTime: now } : {};
  const status: CheckpointStatus = {
    ...before,
    ...begun,
    ...ready,
    ...failed,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    step: to,
    ...(to === 'Waiting' || to === 'Failed' || to === 'Aborting' ? {} : progressOf(seen, to)),
  };
  const kept = to === 'Ready' ? keptOf(seen, status, images) : {};
  const conditions = conditionsOf(seen, advance, { ...status, ...kept }, images);
  const durable = conditionOf(conditions, 'Durable')?.status === 'True';
  const deleting = checkpoint.metadata.deletionTimestamp !== undefined && (to === 'Ready' || to === 'Failed');
  const phase = deleting ? 'Deleting' : to === 'Ready' && durable ? 'Durable' : printed[to];
  return { ...status, ...kept, conditions, phase };
}

function begunStatus({ group, members }: CheckpointSeen, now: string): CheckpointStatus {
  const { status, spec, metadata } = group!;
  return {
    processGroupUid: metadata.uid ?? '',
    processGroupSpec: JSON.stringify(withUser(spec, group!)),
    ...ownerOf(group!),
    size: members.reduce((sum, { rankCount }) => sum + rankCount, 0),
    placement: compressPlacement(members),
    ...(status?.network === undefined ? {} : { network: status.network }),
    startTime: now,
  };
}

/** As whom its ranks run, whoever restores them. */
function withUser(spec: ProcessGroupSpec, group: ProcessGroup): ProcessGroupSpec {
  const { uid, gid } = identityOf(group);
  return { ...spec, securityContext: { ...spec.securityContext, runAsUser: uid, runAsGroup: gid } };
}

function ownerOf({ metadata }: ProcessGroup): Pick<CheckpointStatus, 'owner'> {
  const owner = metadata.annotations?.[annotations.submittedBy.name];
  return owner === undefined ? {} : { owner };
}

/** From what all sandboxes say: every one of them is saved. */
function readyStatus(seen: CheckpointSeen, now: string): CheckpointStatus {
  const { members, candidates } = seen;
  const storage = storageOf(seen);
  const facts = members.flatMap(({ fact, ordinal }) => (fact ? [{ ...fact, ordinal }] : []));
  const imageBytes = facts.reduce((sum, { bytes }) => sum + bytes, 0);
  const frozenMs = facts.map(({ frozenNs }) => frozenNs / 1e6);
  const thawedMs = facts.map(({ thawedNs }) => thawedNs / 1e6);
  const thawed = thawedMs.every((ms) => ms > 0);
  const downtime = Math.max(0, Math.round(Math.max(...thawedMs) - Math.min(...frozenMs)));
  return {
    manifestDigest: manifestDigestOf(facts),
    imageBytes,
    imageSize: bytesText(imageBytes),
    engine: facts[0]?.engine ?? '',
    cutTime: timeOf(new Date(Math.max(...frozenMs))),
    finishTime: now,
    nodes: nodeListText([...new Set(members.map(({ node }) => node))]),
    copies: 1,
    candidateNodes: candidates,
    ...(storage === undefined ? {} : { storage }),
    ...(thawed ? { downtimeMilliseconds: downtime } : {}),
  };
}

function progressOf({ members }: CheckpointSeen, state: CutState): Pick<CheckpointStatus, 'progress'> {
  const reached = (each: Member, far: 'Dumped' | 'Saved'): boolean => hasReached(toldBy(each) ?? '', far);
  if (state === 'Ready') return {};
  return {
    progress: {
      sandboxes: members.length,
      dumped: members.filter((each) => reached(each, 'Dumped')).length,
      saved: members.filter((each) => reached(each, 'Saved')).length,
      bytesWritten: members.reduce((sum, { fact }) => sum + (fact?.bytes ?? 0), 0),
    },
  };
}

/** Where the images are now; as before while some of the nodes have not been heard. */
function keptOf(
  seen: CheckpointSeen,
  before: CheckpointStatus,
  images: readonly PlacedImage[],
): CheckpointStatus {
  const known = new Set(images.flatMap(({ nodes }) => nodes));
  const away = parseNodeList(before.nodes ?? '').filter((node) => seen.standingOf(node) === 'Away');
  const nodes = [...new Set([...known, ...away])].sort();
  const held = { nodes: nodeListText(nodes), ...lostOf(seen, before) };
  if (away.length > 0 || images.length === 0) return held;
  return {
    ...held,
    copies: Math.min(...images.map((image) => image.nodes.length)),
    progress: {
      ...before.progress,
      sandboxes: expectedImages(seen),
      dumped: expectedImages(seen),
      saved: expectedImages(seen),
      bytesWritten: before.imageBytes ?? 0,
    },
  };
}

/** Nodes that had images and are lost: what they have is still theirs when they come back. */
function lostOf({ standingOf }: CheckpointSeen, before: CheckpointStatus): CheckpointStatus {
  const known = [...parseNodeList(before.nodes ?? ''), ...parseNodeList(before.lostNodes ?? '')];
  const lost = [...new Set(known)].filter((node) => standingOf(node) === 'Lost').sort();
  return { lostNodes: lost.length === 0 ? undefined : nodeListText(lost) } as CheckpointStatus;
}

const expectedImages = ({ members }: CheckpointSeen): number => members.length;

function conditionsOf(
  seen: CheckpointSeen,
  advance: Advance,
  status: CheckpointStatus,
  images: readonly PlacedImage[],
): Condition[] {
  const { checkpoint, nowMs } = seen;
  const { generation } = checkpoint.metadata;
  let conditions: readonly Condition[] = checkpoint.status?.conditions ?? [];
  for (const [type, [value, reason, message]] of Object.entries(statesOf(seen, advance, status, images))) {
    conditions = setCondition(
      conditions,
      {
        type: type as Condition['type'] & ('Ready' | 'Durable' | 'Failed' | 'Reconciling' | 'Stalled'),
        status: value,
        reason,
        message,
        ...(generation === undefined ? {} : { observedGeneration: generation }),
      },
      new Date(nowMs),
    );
  }
  return [...conditions];
}

function statesOf(
  seen: CheckpointSeen,
  { to, failure, waiting }: Advance,
  status: CheckpointStatus,
  images: readonly PlacedImage[],
): Record<'Ready' | 'Durable' | 'Failed' | 'Reconciling' | 'Stalled', State> {
  const settled: State = ['False', 'Settled', 'as it is to be'];
  const notStalled: State = ['False', 'NotStalled', 'nothing stands in the way'];
  const notYet: State = ['False', 'NotRestorable', 'there are no images yet'];
  if (to === 'Aborting' || to === 'Failed') {
    const stored = conditionOf(seen.checkpoint.status?.conditions, 'Failed');
    const why: State = failure
      ? ['True', failure.reason, failure.message]
      : ['True', (stored?.reason ?? 'DumpFailed') as Reason, stored?.message ?? ''];
    if (to === 'Aborting')
      return {
        Ready: notYet, Durable: notYet, Stalled: notStalled,
        Failed: ['False', why[1], why[2]],
        Reconciling: ['True', 'Progressing', 'sandboxes are being thawed'],
      }; // prettier-ignore
    return { Ready: notYet, Durable: notYet, Failed: why, Reconciling: settled, Stalled: why };
  }
  const notFailed: State = ['False', 'NotFinished', 'nothing has failed'];
  if (to === 'Ready') {
    const restorable = restorableOf(seen, status, images);
    const durable = durableOf(seen, status, restorable);
    const copying =
      status.storage === undefined && restorable[0] === 'True' && (status.copies ?? 0) < copiesPossible(seen);
    return {
      Ready: restorable,
      Durable: durable,
      Failed: notFailed,
      Reconciling: copying ? ['True', 'Progressing', 'images are being copied to other nodes'] : settled,
      Stalled: notStalled,
    };
  }
  const doing = {
    Waiting: 'NotRestorable', Preparing: 'Preparing', Dumping: 'Dumping', Committing: 'Dumping', Saving: 'Saving',
  } as const; // prettier-ignore
  const text = waiting ?? waitsForText(seen, to);
  return {
    Ready: ['False', doing[to], text],
    Durable: notYet,
    Failed: notFailed,
    Reconciling: ['True', 'Progressing', text],
    Stalled: notStalled,
  };
}

const copiesPossible = (seen: CheckpointSeen): number => Math.min(copiesWanted(seen), seen.keepers.length);

function restorableOf(
  { members, standingOf }: CheckpointSeen,
  status: CheckpointStatus,
  images: readonly PlacedImage[],
): State {
  const have = new Set(images.map(({ ordinal }) => ordinal));
  const missing = members.map(({ ordinal }) => ordinal).filter((ordinal) => !have.has(ordinal));
  const restorable: State = ['True', 'Restorable', 'every image is on a disk and was checked'];
  const nodes = parseNodeList(status.nodes ?? '');
  if (missing.length === 0) {
    if (manifestDigestOf(images) === status.manifestDigest) return restorable;
    return ['False', 'ImagesLost', 'the images that nodes hold are not those that were saved'];
  }
  if (nodes.some((node) => standingOf(node) === 'Away')) return restorable;
  return [
    'False',
    'ImagesLost',
    `no node that is there has the images of sandboxes ${missing.slice(0, 16).join(', ')}`,
  ];
}

function durableOf(seen: CheckpointSeen, status: CheckpointStatus, restorable: State): State {
  if (restorable[0] !== 'True') return restorable;
  const { copies = 1, storage } = status;
  if (storage !== undefined) return ['True', 'Copied', `every image is on storage ${storage}`];
  if (copies >= 2) return ['True', 'Copied', `every image is on ${copies} nodes or more`];
  const why =
    copiesWanted(seen) < 2
      ? 'one copy of each was asked for'
      : copiesPossible(seen) < 2
        ? 'there is no other node to copy them to'
        : 'they are being copied';
  return ['False', 'TooFewCopies', `some images are on one node only: ${why}`];
}
