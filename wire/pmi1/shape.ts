// What the PMI-1 engine of a sandbox is told about its group when it is made, and what it tells about itself.
import { defaultSpawnLimits, type SpawnLimits } from './spawn.ts';

export type PmiShape = {
  /** Unique for the process group: MPICH takes it for the group's identity. */
  readonly kvsname: string;
  readonly size: number;
  /** The (global) ranks of this sandbox. */
  readonly ranks: readonly number[];
  readonly appnumOf: (rank: number) => number;
  /** PMI_process_mapping; null: ranks find out by host name. */
  readonly mapping: string | null;
  /** null: not limited. */
  readonly universeSize: number | null;
  /** What a failed fence does to who waits in it. Continue: they get an error. Abort: nothing, the owner ends the job. */
  readonly onRankDeath: 'Abort' | 'Continue';
  readonly spawnEnabled: boolean;
  /** Pairs that stand in the key-value space before the first rank starts. */
  readonly preputs?: ReadonlyMap<string, string>;
  readonly limits?: Partial<PmiLimits>;
};

export type PmiLimits = {
  readonly lineBytes: number;
  readonly putBytesPerRank: number;
  readonly bytesPerGroup: number;
  readonly spawn: SpawnLimits;
};

export type PmiSnapshot = {
  readonly known: number;
  readonly contributed: number;
  readonly pairs: number;
  readonly bytes: number;
  readonly waiting: readonly number[];
  readonly dead: readonly number[];
};

export const defaultLimits: PmiLimits = {
  lineBytes: 4096,
  putBytesPerRank: 4 << 20,
  bytesPerGroup: 1 << 30,
  spawn: defaultSpawnLimits,
};
