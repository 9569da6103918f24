// What a sandbox uses, by its cgroup, and the limits that end it: the first that was exceeded stays, on disk. Forks that the node's
// own limit of processes refuses are the program's to bear; people are told once.
import type { SandboxSpec } from '../wire/agent-types.ts';
import type { SandboxCgroup, Usage } from './cgroups.ts';
import type { RankIo } from './monitor/sandbox-ranks.ts';
import type { SandboxDirectory } from './sandbox-directory.ts';

/** 'carrier' is no limit of the user's: its Pod has ended. */
export type Limit = 'memory' | 'cpuTime' | 'carrier';

export interface LimitedSandbox {
  readonly directory: SandboxDirectory;
  readonly cgroup: SandboxCgroup | null;
  readonly spec: SandboxSpec;
  poke(): void;
}

/** Processor time of an earlier incarnation. */
export interface EarlierUse {
  readonly cpuUs: number;
  readonly userUs: number;
  readonly systemUs: number;
}

const noneEarlier: EarlierUse = { cpuUs: 0, userUs: 0, systemUs: 0 };

const cpuWorthTellingUs = 100_000;
const memoryWorthTellingBytes = 1 << 20;

export class SandboxLimits {
  readonly #sandbox: LimitedSandbox;
  readonly #forksRefusedFirst: () => void;
  usage: Usage = { cpuUs: 0, userUs: 0, systemUs: 0, memoryBytes: 0, memoryPeakBytes: 0 };
  #earlier: EarlierUse;
  /** From and to disks, as the monitor measured it last. */
  io: RankIo = { readBytes: 0, writtenBytes: 0 };
  oomKills = 0;
  /** Forks that failed by the node's limit of processes. */
  forksRefused = 0;
  exceeded: string;

  constructor(sandbox: LimitedSandbox, forksRefusedFirst: () => void) {
    this.#sandbox = sandbox;
    this.#forksRefusedFirst = forksRefusedFirst;
    this.exceeded = sandbox.directory.read('limit')?.exceeded ?? '';
    this.#earlier = sandbox.directory.read('earlier') ?? noneEarlier;
  }

  /** Whether it uses so much more or less than the last time that it is worth telling. */
  measure(): boolean {
    const { cgroup, spec } = this.#sandbox;
    if (!cgroup) return false;
    const usage = this.#withEarlier(cgroup.usage());
    const moved =
      usage.cpuUs - this.usage.cpuUs > cpuWorthTellingUs ||
      Math.abs(usage.memoryBytes - this.usage.memoryBytes) > memoryWorthTellingBytes;
    this.usage = usage;
    this.check();
    if (spec.cpuTimeLimitSeconds > 0 && usage.cpuUs >= spec.cpuTimeLimitSeconds * 1e6) this.exceed('cpuTime');
    return moved;
  }

  /** What the kernel has refused or killed meanwhile. */
  check(): void {
    const { cgroup, spec } = this.#sandbox;
    this.oomKills = cgroup?.oomKills() ?? 0;
    if (this.oomKills > 0 && spec.memoryLimitBytes > 0) this.exceed('memory');
    const before = this.forksRefused;
    this.forksRefused = cgroup?.forksRefused() ?? 0;
    if (before === 0 && this.forksRefused > 0) this.#forksRefusedFirst();
  }

  /** The last numbers, before the cgroup goes. */
  settle(): void {
    const { cgroup } = this.#sandbox;
    if (cgroup?.exists() !== true) return;
    this.usage = this.#withEarlier(cgroup.usage());
    this.check();
  }

  /** Of the ranks as they are now, and as they were before they were brought back. */
  now(): Usage {
    const { cgroup } = this.#sandbox;
    return cgroup ? this.#withEarlier(cgroup.usage()) : this.usage;
  }

  /** What ranks had used that are brought back: a limit counts on from there. */
  countFrom(earlier: EarlierUse): void {
    this.#sandbox.directory.write('earlier', earlier);
    this.#earlier = earlier;
  }

  #withEarlier(usage: Usage): Usage {
    const { cpuUs, userUs, systemUs } = this.#earlier;
    return {
      ...usage,
      cpuUs: usage.cpuUs + cpuUs,
      userUs: usage.userUs + userUs,
      systemUs: usage.systemUs + systemUs,
    };
  }

  exceed(limit: Limit): void {
    if (this.exceeded !== '') return;
    this.exceeded = limit;
    this.#sandbox.directory.write('limit', { exceeded: limit });
    this.#sandbox.poke();
  }
}
