// One sandbox's side of its carrier Pod: found before the launch, held while that enters it, watched as long as anything runs, and
// let go in the end. A sandbox of a group without a template has none, and everything here does nothing for it.
import { constants } from 'node:os';
import type { FdWatch, Native } from '../native/addon/index.ts';
import type { SandboxSpec } from '../wire/agent-types.ts';
import { readFileSync, writeFileSync } from 'node:fs';
import { AgentError, errnoOf, refused } from './agent-error.ts';
import type { Backend } from './backend.ts';
import type { SandboxCgroup } from './cgroups.ts';
import { findCarrier, isSameCarrier, type CarrierRecord } from './carrier.ts';
import type { SandboxDirectory } from './sandbox-directory.ts';

export interface HeldCarrier {
  readonly record: CarrierRecord;
  readonly pidfd: number;
  /** The Pod's own network. */
  readonly netns: number;
}

export class SandboxCarrier {
  readonly #backend: Backend;
  readonly #directory: SandboxDirectory;
  readonly #key: string;
  #record: CarrierRecord | null;
  #cgroup: SandboxCgroup | null;
  #watch: FdWatch | null = null;

  constructor(backend: Backend, key: string, directory: SandboxDirectory) {
    this.#backend = backend;
    this.#key = key;
    this.#directory = directory;
    this.#record = directory.read('carrier');
    this.#cgroup = this.#cgroupNow();
  }

  get record(): CarrierRecord | null {
    return this.#record;
  }

  /** The sandbox's own: in its Pod's once that is found. */
  get cgroup(): SandboxCgroup | null {
    return this.#cgroup;
  }

  #cgroupNow(): SandboxCgroup | null {
    return this.#backend.cgroups?.of(this.#key, this.#record?.cgroups) ?? null;
  }

  /** On disk before anything is in its cgroup, so that a later agent finds what is. */
  async find({ carrier }: SandboxSpec): Promise<CarrierRecord | null> {
    if (!carrier) return null;
    const { cgroups, config } = this.#backend;
    if (!cgroups)
      throw refused(
        `node ${config.node}: carrier Pods need an agent that is root and has cgroups ("muster doctor" says why)`,
      );
    const found = await findCarrier(carrier, cgroups.mounts, config.node);
    this.#directory.create();
    this.#directory.write('carrier', found);
    this.#record = found;
    this.#cgroup = this.#cgroupNow();
    return found;
  }

  /** Descriptors of it for as long as `use` takes; null where there is none. */
  async held<T>(use: (held: HeldCarrier | null) => Promise<T>): Promise<T> {
    const carrier = this.#record;
    if (!carrier) return use(null);
    const { native, config } = this.#backend;
    const pidfd = pidfdOf(native, carrier);
    if (pidfd === undefined) {
      const message = `node ${config.node}: the carrier Pod has ended`;
      throw new AgentError('failed', 'CarrierLost', 'MUSTER_CARRIER_LOST', message);
    }
    let netns: number | null = null;
    try {
      netns = native.netnsOf(pidfd);
      return await use({ record: carrier, pidfd, netns });
    } finally {
      native.close(pidfd);
      if (netns !== null) native.close(netns);
    }
  }

  /**
   * When memory is short the kernel ends a process of the Pod by the Pod's own rank among others: ranks of it, who have the memory,
   * and not the one that only waits. They inherit this from rank-init.
   */
  adjust(initPid: number): void {
    if (!this.#record) return;
    const file = (pid: number): string => `/proc/${String(pid)}/oom_score_adj`;
    try {
      writeFileSync(file(initPid), readFileSync(file(this.#record.pid)));
    } catch (error) {
      // Either has ended, which is told elsewhere.
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ESRCH') throw error;
    }
  }

  /** With the process that carries a sandbox go the Pod's root and mounts: nothing can go on in them. */
  watch(gone: () => void): void {
    const carrier = this.#record;
    if (!carrier || this.#watch) return;
    const { native } = this.#backend;
    const pidfd = pidfdOf(native, carrier);
    if (pidfd === undefined) return gone();
    this.#watch = native.watch(pidfd, () => {
      this.stop();
      gone();
    });
    native.close(pidfd); // the watch has one of its own
  }

  stop(): void {
    this.#watch?.stop();
    this.#watch = null;
  }

  /** Nothing of the sandbox is left: the Pod has no reason to wait any more. */
  dismiss(): void {
    this.stop();
    const { native } = this.#backend;
    const pidfd = this.#record ? pidfdOf(native, this.#record) : undefined;
    if (pidfd === undefined) return;
    try {
      native.pidfdSignal(pidfd, constants.signals.SIGUSR1);
    } finally {
      native.close(pidfd);
    }
  }
}

/** A pid alone names nobody: it may be another's by now. */
function pidfdOf(native: Native, carrier: CarrierRecord): number | undefined {
  let pidfd: number;
  try {
    pidfd = native.pidfdOpen(carrier.pid);
  } catch {
    return undefined;
  }
  if (isSameCarrier(carrier)) return pidfd;
  native.close(pidfd);
  return undefined;
}
