// What the agent keeps on disk of one sandbox, so that its successor goes on where it was killed: small files, each written
// whole (written aside, then renamed). Which of them exist says how far the sandbox has come. After a power loss a file may
// be missing, never torn unseen: JSON that does not parse counts as missing, and the kernel has forgotten the rest anyway.
import {
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { EarlierUse } from './sandbox-limits.ts';
import type { Abort, BrokenFence, RankEnd, SandboxFact, SandboxSpec, Sent } from '../wire/agent-types.ts';
import { errnoOf } from './agent-error.ts';
import type { CheckpointRecord } from './checkpoint/sandbox-checkpoint.ts';
import type { SavedInput } from './checkpoint/image.ts';
import type { CarrierRecord } from './carrier.ts';
import type { ComingRecord, LeavingRecord } from './migration/record.ts';
import type { RankIo } from './monitor/sandbox-ranks.ts';
import type { Binding } from './processors.ts';

/** By which rank-init is known beyond doubt. */
export interface Identity {
  readonly bootId: string;
  readonly pid: number;
  readonly startTime: number;
  readonly pidns: number;
}

/** Why and since when the ranks are being ended. */
export interface EndingMark {
  readonly cause: string;
  readonly sinceNs: number;
}

/** The last word about a sandbox, written when all its ranks have ended and all their output is spooled. */
export interface EndedRecord {
  readonly state: 'Ended' | 'Failed';
  readonly reason: string;
  readonly message: string;
  readonly succeeded: string;
  readonly failures: readonly RankEnd[];
  readonly failuresTotal: number;
  readonly startedNs: number;
  readonly ranksStartedNs: number;
  readonly endedNs: number;
  readonly cpuUs: number;
  /** Absent in records of agents before 0.2. */
  readonly userUs?: number;
  readonly systemUs?: number;
  readonly io?: RankIo;
  readonly memoryPeakBytes: number;
  readonly oomKills: number;
  readonly forksRefused: number;
  readonly logBytes: number;
  readonly pmiInitialized: boolean;
  readonly pmiFinalized: boolean;
  readonly pmiBadLines: number;
}

interface Files {
  spec: SandboxSpec;
  identity: Identity;
  ending: EndingMark;
  abort: Abort;
  broken: BrokenFence;
  limit: { exceeded: string };
  earlier: EarlierUse;
  binding: Binding;
  carrier: CarrierRecord;
  holders: string[];
  checkpoint: CheckpointRecord;
  leaving: LeavingRecord;
  coming: ComingRecord;
  /** The mounts it was built with. */
  mounts: { root: string; binds: { source: string; target: string }[] };
  /** A restore is under way: who reads standard input, and where each stood. */
  restoring: { readers: SavedInput['readers'] };
  ended: EndedRecord;
  /** The last fact of one that is kept for its output alone. */
  rest: Sent<SandboxFact>;
}

/** A record of how a sandbox ended is mostly smaller. */
const roomBytes = 4096;

export class SandboxDirectory {
  readonly path: string;
  /** What there is, of one that was made by this agent; null: it has to be looked for. */
  readonly #names: Set<string> | null;

  constructor(path: string, isNew = false) {
    this.path = path;
    this.#names = isNew ? new Set() : null;
  }

  get logs(): string {
    return `${this.path}/logs`;
  }

  get input(): string {
    return `${this.path}/input`;
  }

  create(): void {
    mkdirSync(this.logs, { recursive: true, mode: 0o700 });
  }

  /** Sets room aside for what must be written at the end, when the job's output may have filled the disk. */
  keepRoom(): void {
    for (const name of ['ending', 'ended'])
      writeFileSync(`${this.path}/.${name}`, new Uint8Array(roomBytes), { mode: 0o600 });
  }

  read<K extends keyof Files>(name: K): Files[K] | null {
    if (this.#names?.has(name) === false) return null;
    try {
      return JSON.parse(readFileSync(`${this.path}/${name}`, 'utf8')) as Files[K];
    } catch (error) {
      if (error instanceof SyntaxError || errnoOf(error) === 'ENOENT') return null;
      throw error;
    }
  }

  write<K extends keyof Files>(name: K, content: Files[K], durable = false): void {
    const aside = `${this.path}/.${name}`;
    // Not truncated before it is written: it may hold the room kept for it.
    const fd = openSync(aside, constants.O_WRONLY | constants.O_CREAT, 0o600);
    try {
      const bytes = Buffer.from(JSON.stringify(content));
      writeFileSync(fd, bytes);
      ftruncateSync(fd, bytes.length);
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(aside, `${this.path}/${name}`);
    this.#names?.add(name);
  }

  /** The PMI journal of a sandbox that has ended, for the fences of those below it in the job's tree. */
  writeJournal(journal: Buffer): void {
    writeFileSync(`${this.path}/.journal`, journal, { mode: 0o600 });
    renameSync(`${this.path}/.journal`, `${this.path}/journal`);
  }

  readJournal(): Buffer {
    try {
      return readFileSync(`${this.path}/journal`);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return Buffer.alloc(0);
      throw error;
    }
  }

  unlink(name: string): void {
    rmSync(`${this.path}/${name}`, { force: true });
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
