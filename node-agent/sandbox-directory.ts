// What the agent keeps on disk of one sandbox, so that its successor goes on where it was killed: small files, each written
// whole (written aside, then renamed). Which of them exist says how far the sandbox has come. After a power loss a file may
// be missing, never torn unseen: JSON that does not parse counts as missing, and the kernel has forgotten the rest anyway.
import {
  mkdirSync,
  openSync,
  closeSync,
  fsyncSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { Abort, BrokenFence, RankEnd, SandboxSpec } from '../wire/agent-types.ts';
import { errnoOf } from './agent-error.ts';
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
  binding: Binding;
  holders: string[];
  ended: EndedRecord;
}

export class SandboxDirectory {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
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

  read<K extends keyof Files>(name: K): Files[K] | null {
    try {
      return JSON.parse(readFileSync(`${this.path}/${name}`, 'utf8')) as Files[K];
    } catch (error) {
      if (error instanceof SyntaxError || errnoOf(error) === 'ENOENT') return null;
      throw error;
    }
  }

  write<K extends keyof Files>(name: K, content: Files[K], durable = false): void {
    const aside = `${this.path}/.${name}`;
    const fd = openSync(aside, 'w', 0o600);
    try {
      writeFileSync(fd, JSON.stringify(content));
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(aside, `${this.path}/${name}`);
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
