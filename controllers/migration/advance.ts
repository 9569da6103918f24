/**
 * What has happened to a Migration that has not reached its end, as an event of the protocol's table, and why it failed if it did. Pure;
 * one event a visit. Where ranks are is read from the group's record, never from the Migration's own.
 */
import type { Reason } from '../../crds/conditions.ts';
import { isTrue, reasons } from '../../crds/conditions.ts';
import { bytesText } from '../../crds/quantity.ts';
import {
  comerReached,
  hasGivenUp,
  isLost,
  leaverReached,
  moveEventOf,
  moveTable,
  type MoveAction,
  type MoveEvent,
  type MoveState,
} from '../../wire/migration-protocol.ts';
import { stepOf } from '../../wire/state-table.ts';
import type { Share } from '../carrier/split.ts';
import { isMoveDone, moveStateOf, type MigrationSeen, type Mover } from './seen.ts';

export interface Failure {
  readonly reason: Reason;
  readonly message: string;
}

export interface Advance {
  readonly from: MoveState;
  readonly to: MoveState;
  readonly actions: readonly MoveAction[];
  readonly failure?: Failure;
  /** What is waited for, or what came of it, for people. */
  readonly message?: string;
  /** Carrier Pods that are to be made. */
  readonly make?: readonly Share[];
}

interface Happened {
  readonly make?: readonly Share[];
  readonly event?: MoveEvent;
  readonly failure?: Failure;
  readonly message?: string;
}

export function advanceOf(seen: MigrationSeen): Advance {
  const from = moveStateOf(seen);
  const { event, ...why } = happened(seen, from);
  if (event === undefined) return { from, to: from, actions: [], ...why };
  const { state, actions } = stepOf(moveTable, from, event);
  return { from, to: state, actions, ...why };
}

/** Of one that has not begun, and cannot. */
export function unableAdvance(failure: Failure): Advance {
  const { state, actions } = stepOf<MoveState, MoveEvent, MoveAction>(moveTable, 'Pending', 'GivenUp');
  return { from: 'Pending', to: state, actions, failure };
}

/** Until it is given up. */
export function timeLeftMs({ migration, nowMs }: MigrationSeen): number {
  const sinceMs = Date.parse(migration.status?.startTime ?? migration.metadata.creationTimestamp ?? '');
  const deadlineMs = (migration.spec.deadlineSeconds ?? 3600) * 1000;
  return Number.isNaN(sinceMs) ? deadlineMs : sinceMs + deadlineMs - nowMs;
}

function happened(seen: MigrationSeen, state: MoveState): Happened {
  if (isMoveDone(state)) return {};
  const { isCommitted, movers } = seen;
  if (state === 'Pending') return giveUp(seen) ?? beginning(seen);
  const isAfter = state === 'Switching' || state === 'Following';
  if (isCommitted && !isAfter) return { event: 'Committed' };
  const event = moveEventOf(
    state,
    movers.map(({ told }) => told),
  );
  if (isAfter)
    return event === 'SomeLost'
      ? { event, failure: lostAfter(movers) }
      : { ...(event ? { event } : {}), message: waitsForText(seen, state) };
  if (state === 'Aborting')
    return event ? { event } : { message: 'ranks are being let go on where they were' };
  const given = giveUp(seen) ?? withoutPod(seen);
  if (given) return given;
  if (!seen.isClaimed) {
    if (state === 'Copying' || !isThere(seen)) return unclaimed(seen);
    return {
      message: seen.waitsFor === undefined ? 'the group is being claimed' : `${seen.waitsFor} is not done`,
    };
  }
  if (event === 'SomeFailed') return { event, failure: failureIn(movers) };
  return { ...(event ? { event } : {}), message: waitsForText(seen, state) };
}

const givenUp = (reason: Reason, message: string): Happened => ({
  event: 'GivenUp',
  failure: { reason, message },
});

function giveUp(seen: MigrationSeen): Happened | undefined {
  const { migration, group } = seen;
  const { spec, metadata } = migration;
  if (metadata.deletionTimestamp !== undefined)
    return givenUp('Deleted', 'the Migration was deleted before the ranks had moved');
  if (timeLeftMs(seen) <= 0)
    return givenUp(
      'DeadlineExceeded',
      `deadlineSeconds, ${spec.deadlineSeconds ?? 3600} s, have passed: ${waitsForText(seen, moveStateOf(seen))}`,
    );
  if (!group)
    return givenUp('GroupNotFound', `there is no ProcessGroup ${spec.processGroupName} in the namespace`);
  const { status } = group;
  if (status?.finishTime !== undefined || group.metadata.deletionTimestamp !== undefined)
    return givenUp('GroupNotRunning', `ProcessGroup ${spec.processGroupName} has ended`);
  if (isTrue(status?.conditions, 'Stalled'))
    return givenUp('GroupNotRunning', `ProcessGroup ${spec.processGroupName} is stalled: nothing of it runs`);
  if (status?.phase === 'Stopping' || status?.phase === 'Restarting')
    return givenUp('GroupNotRunning', `the ranks of ProcessGroup ${spec.processGroupName} are being ended`);
  return undefined;
}

/** The sandboxes are still where they are to leave. */
export function isThere({ movers, placement }: MigrationSeen): boolean {
  return movers.every(({ move: { ordinal, from, incarnation } }) => {
    const now = placement[ordinal];
    return now?.node === from && now.incarnation === incarnation - 1;
  });
}

/** One of the Pods that they go into is gone, or is going. */
function withoutPod({ isCarried, arePodsKnown, movers }: MigrationSeen): Happened | undefined {
  if (!isCarried || !arePodsKnown) return undefined;
  for (const { pod, move } of movers) {
    if (!pod) return givenUp('TransferFailed', `the carrier Pod for sandbox ${move.ordinal} is gone`);
    if (pod.state === 'Leaving' || pod.state === 'Ended')
      return givenUp('TransferFailed', `carrier Pod ${pod.name} ${pod.why}`);
  }
  return undefined;
}

/** Somebody has given it up, or the group was placed anew. */
const unclaimed = ({ migration }: MigrationSeen): Happened =>
  givenUp('TransferFailed', `ProcessGroup ${migration.spec.processGroupName} has changed meanwhile`);

function beginning({ migration, group, placement, waitsFor, choice }: MigrationSeen): Happened {
  const { processGroupName } = migration.spec;
  if (waitsFor !== undefined) return { message: `${waitsFor} of the same group is not done` };
  const phase = group?.status?.phase;
  if (placement.length === 0) {
    return phase === 'Suspended'
      ? givenUp('GroupNotRunning', `ProcessGroup ${processGroupName} holds no node`)
      : { message: `ProcessGroup ${processGroupName} has not started` };
  }
  if (phase !== 'Running' && phase !== 'Suspended')
    return { message: `ProcessGroup ${processGroupName} is ${phase ?? 'new'}: it moves once it runs` };
  switch (choice?.kind) {
    case 'waiting':
      return { message: choice.message };
    case 'carriers':
      return { message: choice.message, make: choice.make };
    case 'nothing':
      return { event: 'NothingToDo', message: choice.message };
    case 'refused':
      return givenUp(choice.reason, choice.message);
    case 'moves':
      return { event: 'Begun' };
    case undefined:
      return {};
  }
}

function failureIn(movers: readonly Mover[]): Failure {
  const mover = movers.find(({ told }) => hasGivenUp(told))!;
  const { leaver, comer, told, move } = mover;
  // One that stays says why; the other then only has nobody who comes.
  const isComers = told.leaver !== 'Stayed' && (told.comer === 'Refused' || told.comer === 'Gone');
  const side = isComers ? comer : leaver;
  const where = `node ${side.node}, sandbox ${move.ordinal}`;
  if (side.move && (side.move.state === 'Refused' || side.move.state === 'Stayed'))
    return { reason: reasonOf(side.move.reason), message: `${where}: ${side.move.message}` };
  if (side.standing === 'Lost')
    return { reason: 'NodeLost', message: `${where}: nothing is heard of the node` };
  if (side.fact?.state === 'Failed')
    return { reason: 'TransferFailed', message: `${where}: ${side.fact.message}` };
  return isComers
    ? { reason: 'TransferFailed', message: `${where}: its agent has lost what was coming` }
    : { reason: 'GroupNotRunning', message: `${where}: its ranks have ended` };
}

function lostAfter(movers: readonly Mover[]): Failure {
  const { comer, leaver, move, told } = movers.find((mover) => isLost(mover.told))!;
  if (told.comer === 'Following')
    return {
      reason: 'PagesLost',
      message: `node ${comer.node}, sandbox ${move.ordinal}: the ranks had moved, and ${bytesText(comer.move?.pagesLeftBytes ?? 0)}B of their memory were on node ${leaver.node}, ${leaver.standing === 'Lost' ? 'of which nothing is heard' : 'which has lost them'}`,
    };
  const text =
    comer.fact?.message ||
    (comer.standing === 'Lost' ? 'nothing is heard of the node' : 'they were lost there');
  return {
    reason: 'NodeLost',
    message: `node ${comer.node}, sandbox ${move.ordinal}: the ranks had moved, and ended: ${text}`,
  };
}

function reasonOf(text: string): Reason {
  if (text === 'Ended') return 'GroupNotRunning';
  if (text === 'CarrierLost') return 'TransferFailed'; // the Pod that they were to go into
  return text in reasons ? (text as Reason) : 'TransferFailed';
}

/** "1 of 2 sandboxes stand still on node2; ..." */
export function waitsForText({ movers, waitsFor, choice }: MigrationSeen, state: MoveState): string {
  const count = movers.length;
  const having = (is: (mover: Mover) => boolean): number => movers.filter(is).length;
  switch (state) {
    case 'Pending':
      if (waitsFor !== undefined) return `${waitsFor} is not done`;
      return choice?.kind === 'carriers' ? choice.message : 'the group does not run yet';
    case 'Preparing': {
      const ready = having(
        ({ told }) => leaverReached(told.leaver, 'Prepared') && comerReached(told.comer, 'Prepared'),
      );
      return `${ready} of ${count} sandboxes and the nodes that they go to are looked at`;
    }
    case 'Copying': {
      const left = having(({ told }) => told.leaver === 'Left');
      const placed = having(({ told }) => told.comer === 'Placed');
      return `${left} of ${count} sandboxes are dumped, ${placed} restored`;
    }
    case 'Switching': {
      const running = having(({ told }) => comerReached(told.comer, 'Following'));
      return `${running} of ${count} sandboxes run on the new node`;
    }
    case 'Following': {
      const left = movers.reduce((sum, { comer }) => sum + (comer.move?.pagesLeftBytes ?? 0), 0);
      const there = having(({ told }) => told.comer === 'Running');
      return `the ranks run on the new node, ${bytesText(left)}B of their memory follow; ${there} of ${count} sandboxes have all of it`;
    }
    case 'Aborting':
      return 'ranks are being let go on where they were';
    case 'Completed':
    case 'Failed':
      return '';
  }
}
