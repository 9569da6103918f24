/**
 * One frozen snapshot of a Migration: its object, the group as the store has it now, what agents say of the sandboxes that move on
 * both sides, and the time. What follows from it (advance.ts, status.ts) is a function of it and of nothing else.
 */
import type { Migration, MigrationMove, ProcessGroup } from '../../crds/types.gen.ts';
import type { MoveFact, SandboxFact } from '../../wire/agent-types.ts';
import type { MoveState, Told } from '../../wire/migration-protocol.ts';
import type { CarrierView } from '../carrier/view.ts';
import type { Standing } from '../hub/node-table.ts';
import type { Assignment } from '../placement/placement-status.ts';
import type { Choice } from './choice.ts';

/** One side of a sandbox that moves. */
export interface Side {
  readonly node: string;
  readonly standing: Standing;
  /** What its agent says of it; undefined: nothing (yet). */
  readonly fact: SandboxFact | undefined;
  /** What it says of this very migration. */
  readonly move: MoveFact | undefined;
  /** Its agent is back without it. */
  readonly lost: boolean;
}

export interface Mover {
  readonly move: MigrationMove & { readonly to: string; readonly incarnation: number };
  readonly ranks: string;
  readonly leaver: Side;
  readonly comer: Side;
  readonly told: Told;
  /** The carrier Pod that it goes into; undefined: it needs none, or there is none (any more). */
  readonly pod?: CarrierView | undefined;
}

export interface MigrationSeen {
  readonly nowMs: number;
  readonly migration: Migration;
  /** The group that it is of: the same by uid once that is on record. */
  readonly group: ProcessGroup | undefined;
  readonly placement: readonly Assignment[];
  readonly movers: readonly Mover[];
  /** They go into carrier Pods. */
  readonly isCarried: boolean;
  /** False while it is not known which Pods there are. */
  readonly arePodsKnown: boolean;
  /** Volumes that live and die with such a Pod. */
  readonly scratch: readonly string[];
  /** The group's record names this migration. */
  readonly isClaimed: boolean;
  /** The group's record has all that move where they go to. */
  readonly isCommitted: boolean;
  /** What else is at work on the group, for people. */
  readonly waitsFor: string | undefined;
  /** Where what is to move would go; only looked for before it begins. */
  readonly choice: Choice | undefined;
}

export function moveStateOf({ migration }: Pick<MigrationSeen, 'migration'>): MoveState {
  return migration.status?.phase ?? 'Pending';
}

export const isMoveDone = (state: MoveState): boolean => state === 'Completed' || state === 'Failed';
