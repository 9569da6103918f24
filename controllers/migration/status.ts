/**
 * The status of a Migration, from one snapshot and what follows from it. Pure. Completed and Failed are terminal and exclude each other;
 * the phase is the protocol's state, by which a controller that comes back goes on.
 */
import { conditionOf, setCondition, timeOf, type Reason } from '../../crds/conditions.ts';
import { nodeListText } from '../../crds/node-list.ts';
import type { Condition } from '../../crds/objects.ts';
import type { MigrationMove, MigrationStatus } from '../../crds/types.gen.ts';
import type { MoveFact } from '../../wire/agent-types.ts';
import type { MoveState, Told } from '../../wire/migration-protocol.ts';
import { waitsForText, type Advance } from './advance.ts';
import type { MigrationSeen, Mover } from './seen.ts';
import { measuredStrategy } from './strategy.ts';

type State = readonly [status: Condition['status'], reason: Reason, message: string];
type Type = 'Completed' | 'Failed' | 'Reconciling' | 'Stalled';

export function statusOf(seen: MigrationSeen, advance: Advance): MigrationStatus {
  const { migration, movers, nowMs } = seen;
  const before = migration.status ?? {};
  const { generation } = migration.metadata;
  const { from, to } = advance;
  const now = timeOf(new Date(nowMs));
  const begun = from === 'Pending' && to === 'Preparing' ? begunStatus(seen, now) : {};
  const isOver = to === 'Completed' || to === 'Failed';
  const moves = begun.moves ?? movers.map((mover) => moveOf(mover, to));
  return {
    ...before,
    ...begun,
    ...(from === 'Preparing' && to === 'Copying' ? measuredIn(seen) : {}),
    ...(isOver ? { startTime: before.startTime ?? now, finishTime: before.finishTime ?? now } : {}),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    ...(moves.length === 0 ? {} : { moves, ...totalsOf(moves) }),
    conditions: conditionsOf(seen, advance),
    phase: to,
  };
}

function begunStatus({ choice, group }: MigrationSeen, now: string): MigrationStatus {
  if (choice?.kind !== 'moves') return {};
  const { moves, ranks, strategy } = choice;
  return {
    processGroupUid: group?.metadata.uid ?? '',
    ...(strategy === undefined ? {} : { strategy }),
    source: nodeListText([...new Set(moves.map(({ from }) => from))]),
    target: nodeListText([...new Set(moves.map(({ to = '' }) => to))]),
    ranks,
    moves: [...moves],
    startTime: now,
  };
}

/** Chosen by how much the ranks write, which their nodes have said meanwhile. */
function measuredIn({ migration, movers }: MigrationSeen): MigrationStatus {
  if (migration.status?.strategy !== undefined) return {};
  const rates = movers.map(({ leaver }) => leaver.move?.dirtyBytesPerSecond ?? 0);
  return { strategy: measuredStrategy(rates) };
}

/** What has been told once is kept: nobody tells of it for ever. */
function moveOf({ move, leaver, comer, told }: Mover, to: MoveState): MigrationMove {
  const { frozenNs = 0 } = leaver.move ?? {};
  const { bytes = 0, stillUs = 0 } = comer.move ?? {};
  const frozenTime = frozenNs > 0 ? new Date(frozenNs / 1e6).toISOString() : move.frozenTime;
  return {
    ...move,
    state: stateOf(told, to),
    ...(frozenTime === undefined ? {} : { frozenTime }),
    ...(bytes > 0 ? { bytes } : {}),
    ...pagesOf(comer.move, to, move.pagesLeftBytes),
    ...(stillUs > 0 ? { downtimeMilliseconds: Math.round(stillUs / 1000) } : {}),
  };
}

/** Only of those whose pages follow. */
function pagesOf(
  comer: MoveFact | undefined,
  to: MoveState,
  before: number | undefined,
): { pagesLeftBytes?: number } {
  const left = to === 'Completed' ? 0 : comer?.pagesLeftBytes;
  if (before === undefined && (left ?? 0) === 0) return {};
  return { pagesLeftBytes: left ?? before ?? 0 };
}

function stateOf({ leaver, comer }: Told, to: MoveState): NonNullable<MigrationMove['state']> {
  if (to === 'Completed') return 'Completed';
  if (to === 'Failed' || to === 'Aborting') return 'Failed';
  if (comer === 'Following') return 'Following';
  if (to === 'Switching' || to === 'Following') return comer === 'Running' ? 'Completed' : 'Switching';
  return leaver === 'Leaving' || leaver === 'Left' ? 'Copying' : 'Pending';
}

function totalsOf(moves: readonly MigrationMove[]): Partial<MigrationStatus> {
  const bytes = moves.reduce((sum, each) => sum + (each.bytes ?? 0), 0);
  const known = moves.flatMap(({ downtimeMilliseconds }) => downtimeMilliseconds ?? []);
  return {
    ...(bytes > 0 ? { transferredBytes: bytes } : {}),
    ...(known.length === moves.length ? { downtimeMilliseconds: Math.max(...known) } : {}),
  };
}

function conditionsOf(seen: MigrationSeen, advance: Advance): Condition[] {
  const { migration, nowMs } = seen;
  const { generation } = migration.metadata;
  let conditions: readonly Condition[] = migration.status?.conditions ?? [];
  for (const [type, [status, reason, message]] of Object.entries(statesOf(seen, advance)))
    conditions = setCondition(
      conditions,
      {
        type: type as Type,
        status,
        reason,
        message,
        ...(generation === undefined ? {} : { observedGeneration: generation }),
      },
      new Date(nowMs),
    );
  return [...conditions];
}

function statesOf(seen: MigrationSeen, { from, to, failure, message }: Advance): Record<Type, State> {
  const settled: State = ['False', 'Settled', 'as it is to be'];
  const notStalled: State = ['False', 'NotStalled', 'nothing stands in the way'];
  const notFailed: State = ['False', 'NotFinished', 'nothing has failed'];
  const { conditions } = seen.migration.status ?? {};
  if (to === 'Failed' || to === 'Aborting') {
    const stored = conditionOf(conditions, 'Failed');
    const [reason, text] = failure
      ? [failure.reason, failure.message]
      : [(stored?.reason ?? 'TransferFailed') as Reason, stored?.message ?? ''];
    const isOver = to === 'Failed';
    return {
      Completed: ['False', reason, text],
      Failed: [isOver ? 'True' : 'False', reason, text],
      Reconciling: isOver ? settled : ['True', 'Progressing', message ?? waitsForText(seen, to)],
      Stalled: isOver ? ['True', reason, text] : notStalled,
    };
  }
  if (to === 'Completed') {
    const stored = from === 'Completed' ? conditionOf(conditions, 'Completed') : undefined;
    const done: State = stored
      ? ['True', stored.reason as Reason, stored.message]
      : seen.movers.length === 0
        ? ['True', 'NothingToDo', message ?? '']
        : ['True', 'Moved', movedText(seen)];
    return { Completed: done, Failed: notFailed, Reconciling: settled, Stalled: notStalled };
  }
  const text = message ?? waitsForText(seen, to);
  return {
    Completed: ['False', to === 'Following' ? 'Following' : 'Moving', text],
    Failed: notFailed,
    Reconciling: ['True', 'Progressing', text],
    Stalled: notStalled,
  };
}

function movedText({ migration, movers }: MigrationSeen): string {
  const { ranks = '', target = '' } = migration.status ?? {};
  return `ranks ${ranks} run on ${target || movers.map(({ move }) => move.to).join(', ')}`;
}
