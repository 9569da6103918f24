/**
 * One frozen snapshot of a Checkpoint: its object, its group, what agents say of the group's sandboxes and of the images, and the
 * time. What follows from it (advance.ts, status.ts, copies.ts) is a function of it and of nothing else.
 */
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import type { CheckpointFact } from '../../wire/agent-types.ts';
import type { CutState } from '../../wire/checkpoint-protocol.ts';
import type { KnownImage } from '../hub/fact-table.ts';
import type { Standing } from '../hub/node-table.ts';
import type { Assignment } from '../placement/placement-status.ts';

export interface Member extends Assignment {
  readonly standing: Standing;
  /** What its agent says of the sandbox; undefined: nothing (yet). */
  readonly sandboxState: string | undefined;
  /** The agent is back without the sandbox. */
  readonly lost: boolean;
  /** What it says of this very checkpoint. */
  readonly fact: CheckpointFact | undefined;
}

export interface HeldImage {
  readonly node: string;
  readonly standing: Standing;
  readonly image: KnownImage;
}

export interface CheckpointSeen {
  readonly nowMs: number;
  readonly checkpoint: Checkpoint;
  /** The group that it is of: the same by uid once that is on record. */
  readonly group: ProcessGroup | undefined;
  /** Sandboxes of the group: as at the cut, once that is on record. */
  readonly members: readonly Member[];
  readonly images: readonly HeldImage[];
  /** Another checkpoint of the group, asked for earlier, that is not done. */
  readonly waitsFor: string | undefined;
  /** Groups that are being brought back from it. */
  readonly restoring: readonly string[];
  /** Nodes that could bring back each of its sandboxes: the fewest of all. */
  readonly candidates: number;
  /** Nodes that could take copies. */
  readonly keepers: readonly string[];
  /** Images there are as good as gone. */
  readonly isDrained?: (node: string) => boolean;
  readonly standingOf: (node: string) => Standing;
}

export function cutStateOf({ checkpoint }: Pick<CheckpointSeen, 'checkpoint'>): CutState {
  return checkpoint.status?.step ?? 'Waiting';
}

export const isDone = (state: CutState): boolean => state === 'Ready' || state === 'Failed';
