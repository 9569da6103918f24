// Who holds a sandbox frozen, and the freezing itself: the user's suspend, a checkpoint at work on it, a lease that is over, a move. It
// runs on when the last of them lets go. Holders are on disk before anything is frozen, so that an agent that comes after a dead
// one neither thaws what is held nor leaves frozen what nobody holds. Without a cgroup that can freeze, rank-init stops the ranks.
import { setTimeout as after } from 'node:timers/promises';
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import type { SandboxCgroup } from './cgroups.ts';
import { isForking, isStarting } from './forking.ts';
import type { SandboxDirectory } from './sandbox-directory.ts';
import { until } from './until.ts';

export type Holder = 'suspend' | 'checkpoint' | 'fence' | 'move';

/** An engine may be at work on what they hold. */
const engines: readonly Holder[] = ['checkpoint', 'move'];

export interface FreezablePorts {
  readonly directory: SandboxDirectory;
  readonly cgroup: SandboxCgroup | null;
  readonly adopted: AdoptedSandbox | null;
}

const frozenWithinMs = 2000;
/** A process is at it for a moment of its own processor time, which takes long where processors are busy: each try gives it more. */
const mostTries = 20;
const firstPauseMs = 5;
const longestPauseMs = 200;

/** Said until it is so: version 1 of control groups passes over who was just about to wait in vfork(2), and does not come back to him. */
async function freezeAll(cgroup: SandboxCgroup): Promise<void> {
  const isFrozen = (): boolean => {
    cgroup.freeze(true);
    return cgroup.frozen();
  };
  await until(isFrozen, frozenWithinMs, 'every process of the sandbox to be frozen');
}

/** None of them in the middle of starting another: nobody could save it like that. */
async function freezeWhole(cgroup: SandboxCgroup, initPid: number): Promise<void> {
  const isPartial = (pids: readonly number[]) => isForking(pids) || isStarting(pids, initPid);
  for (let attempt = 0; attempt < mostTries && isPartial(cgroup.pids()); attempt++) {
    cgroup.freeze(false);
    await after(Math.min(firstPauseMs * 2 ** attempt, longestPauseMs));
    await freezeAll(cgroup);
  }
}

export class Freezer {
  readonly #sandbox: FreezablePorts;
  readonly #holders: Set<string>;

  constructor(sandbox: FreezablePorts) {
    this.#sandbox = sandbox;
    this.#holders = new Set(sandbox.directory.read('holders') ?? []);
  }

  get isHeld(): boolean {
    return this.#holders.size > 0;
  }

  get holders(): string[] {
    return [...this.#holders];
  }

  isHeldBy(holder: Holder): boolean {
    return this.#holders.has(holder);
  }

  /** What the kernel says, where it can be asked. */
  get isFrozen(): boolean {
    const { cgroup } = this.#sandbox;
    return cgroup?.canFreeze === true ? cgroup.frozen() : this.isHeld;
  }

  /** Comes back once every process is frozen. What a checkpoint or a move holds is left to its engine. */
  async freeze(holder: Holder): Promise<void> {
    const isEngines = engines.some((each) => each !== holder && this.#holders.has(each));
    this.#holders.add(holder);
    this.#keep();
    if (isEngines) return;
    const { cgroup, adopted } = this.#sandbox;
    if (cgroup?.canFreeze === true) {
      await freezeAll(cgroup);
      if (this.holders.every((each) => each === holder))
        await freezeWhole(cgroup, adopted?.identity.pid ?? 0);
    } else await adopted?.request('stop');
  }

  /** Holds it from now on, without waiting for what is in the middle of something. */
  freezeSoon(holder: Holder): void {
    this.#holders.add(holder);
    this.#keep();
    this.#sandbox.cgroup?.freeze(true);
  }

  /** Whoever else holds the sandbox keeps it frozen. On disk only once it runs: a crash in between thaws it again. */
  async thaw(holder: Holder): Promise<void> {
    const isLast = this.holders.every((each) => each === holder);
    const { cgroup, adopted } = this.#sandbox;
    if (isLast && cgroup?.canFreeze === true) cgroup.freeze(false);
    else if (isLast && cgroup?.exists() !== false) await adopted?.request('continue');
    this.#holders.delete(holder);
    this.#keep();
  }

  #keep(): void {
    this.#sandbox.directory.write('holders', this.holders);
  }
}
