/**
 * What has happened to a checkpoint that has not reached its end, as an event of the protocol's table, and why it failed if it
 * did. Pure; one event a visit.
 */
import type { Reason } from '../../crds/conditions.ts';
import { isTrue, reasons } from '../../crds/conditions.ts';
import {
  cutEventOf,
  cutTable,
  hasReached,
  type CutEvent,
  type CutState,
} from '../../wire/checkpoint-protocol.ts';
import { stepOf } from '../../wire/state-table.ts';
import { placedImages } from './copies.ts';
import { cutStateOf, isDone, type CheckpointSeen, type Member } from './seen.ts';

export interface Failure {
  readonly reason: Reason;
  readonly message: string;
}

export interface Advance {
  readonly from: CutState;
  readonly to: CutState;
  readonly failure?: Failure;
  /** What is waited for, for people. */
  readonly waiting?: string;
}

export function advanceOf(seen: CheckpointSeen): Advance {
  const from = cutStateOf(seen);
  const { event, failure, waiting } = happened(seen, from);
  const to = event === undefined ? from : stepOf(cutTable, from, event).state;
  return {
    from,
    to,
    ...(failure === undefined ? {} : { failure }),
    ...(waiting === undefined ? {} : { waiting }),
  };
}

interface Happened {
  readonly event?: CutEvent;
  readonly failure?: Failure;
  readonly waiting?: string;
}

/** Until it is given up. */
export function timeLeftMs({ checkpoint, nowMs }: CheckpointSeen): number {
  const sinceMs = Date.parse(checkpoint.status?.startTime ?? checkpoint.metadata.creationTimestamp ?? '');
  const deadlineMs = (checkpoint.spec.deadlineSeconds ?? 3600) * 1000;
  return Number.isNaN(sinceMs) ? deadlineMs : sinceMs + deadlineMs - nowMs;
}

function happened(seen: CheckpointSeen, state: CutState): Happened {
  if (isDone(state)) return {};
  const { checkpoint, members } = seen;
  if (state !== 'Aborting') {
    if (checkpoint.metadata.deletionTimestamp !== undefined)
      return givenUp('Deleted', 'the Checkpoint was deleted before it was ready');
    if (timeLeftMs(seen) <= 0)
      return givenUp(
        'DeadlineExceeded',
        `deadlineSeconds, ${checkpoint.spec.deadlineSeconds ?? 3600} s, have passed: ${waitsForText(seen, state)}`,
      );
  }
  if (state === 'Waiting') return beginning(seen);
  const event = cutEventOf(state, members.map(toldBy));
  if (event === undefined || (event === 'AllSaved' && !areKept(seen)))
    return { waiting: waitsForText(seen, state) };
  return event === 'SomeAborted' ? { event, failure: failureIn(members) } : { event };
}

/** Their nodes have told of the images too. */
function areKept({ members, images }: CheckpointSeen): boolean {
  const digests = new Map(placedImages(images).map(({ ordinal, digest }) => [ordinal, digest]));
  return members.every(({ ordinal, fact }) => fact !== undefined && digests.get(ordinal) === fact.digest);
}

const givenUp = (reason: Reason, message: string): Happened => ({
  event: 'GivenUp',
  failure: { reason, message },
});

function beginning({ checkpoint, group, members, waitsFor }: CheckpointSeen): Happened {
  const { processGroupName } = checkpoint.spec;
  if (!group)
    return givenUp('GroupNotFound', `there is no ProcessGroup ${processGroupName} in the namespace`);
  if (group.status?.finishTime !== undefined || group.metadata.deletionTimestamp !== undefined)
    return givenUp('GroupNotRunning', `ProcessGroup ${processGroupName} has ended`);
  if (isTrue(group.status?.conditions, 'Stalled'))
    return givenUp('GroupNotRunning', `ProcessGroup ${processGroupName} is stalled: nothing of it runs`);
  if (group.status?.migration !== undefined)
    return { waiting: `Migration ${group.status.migration.name} of the same group is not done` };
  if (waitsFor !== undefined) return { waiting: `Checkpoint ${waitsFor} of the same group is not done` };
  if (members.length === 0) {
    const vacated = group.status?.phase === 'Suspended';
    if (vacated) return givenUp('GroupNotRunning', `ProcessGroup ${processGroupName} holds no node`);
    return { waiting: `ProcessGroup ${processGroupName} has not started` };
  }
  const notRunning = members.find(({ sandboxState }) => sandboxState !== 'Running');
  if (notRunning) return { waiting: `ranks on ${notRunning.node} do not run yet` };
  return { event: 'Begun' };
}

/** What a sandbox has said, for the table: one that is gone has given up, unless its image was committed before. */
export function toldBy({ fact, lost, standing, sandboxState }: Member): string | undefined {
  const over = lost || sandboxState === 'Ended' || sandboxState === 'Failed';
  if (fact && (!over || hasReached(fact.state, 'Committed'))) {
    if (standing !== 'Lost' || fact.state === 'Saved') return fact.state;
  }
  return over || standing === 'Lost' ? 'Aborted' : fact?.state;
}

function failureIn(members: readonly Member[]): Failure {
  const cause = members.find(({ fact }) => fact?.state === 'Aborted') ?? members.find(gone);
  if (!cause) return { reason: 'DumpFailed', message: 'a sandbox has given up' };
  const { fact, node, ordinal, standing } = cause;
  const where = `node ${node}, sandbox ${ordinal}`;
  if (fact?.state === 'Aborted') {
    const reason = fact.reason === 'Ended' ? 'GroupNotRunning' : reasonOf(fact.reason);
    return { reason, message: `${where}: ${fact.message}` };
  }
  if (standing === 'Lost') return { reason: 'NodeLost', message: `${where}: nothing is heard of the node` };
  return { reason: 'GroupNotRunning', message: `${where}: its ranks have ended` };
}

const gone = (member: Member): boolean => toldBy(member) === 'Aborted';

function reasonOf(text: string): Reason {
  return text in reasons ? (text as Reason) : 'DumpFailed';
}

const waitedFor = {
  Preparing: 'Prepared',
  Dumping: 'Dumped',
  Committing: 'Committed',
  Saving: 'Saved',
} as const;
const verbs = {
  Preparing: 'frozen and looked at',
  Dumping: 'dumped',
  Committing: 'told that all are dumped',
  Saving: 'saved',
} as const;

/** "3 of 8 sandboxes are dumped; node5 is not". */
export function waitsForText({ members, waitsFor }: CheckpointSeen, state: CutState): string {
  if (state === 'Waiting')
    return waitsFor === undefined ? 'the group does not run yet' : `Checkpoint ${waitsFor} is not done`;
  if (state === 'Aborting') return 'sandboxes are being thawed';
  if (state === 'Ready' || state === 'Failed') return '';
  const late = members.filter((member) => !hasReached(toldBy(member) ?? '', waitedFor[state]));
  const nodes = [...new Set(late.map(({ node }) => node))];
  const shown = `${nodes.slice(0, 8).join(', ')}${nodes.length > 8 ? ', ...' : ''}`;
  const count = members.length - late.length;
  return `${count} of ${members.length} sandboxes are ${verbs[state]}${shown === '' ? '' : `; those on ${shown} are not`}`;
}
