// The control groups of this node's sandboxes, `<parent>/<agent>/<sandbox>` in every hierarchy that is there: the unified
// one freezes, kills and tells emptiness (it can without any controller), the memory one, whichever version it has, limits
// and counts. The agent's part of the name comes from its state directory, so a restarted agent finds its own leftovers
// and nobody else's. Files of cgroups are kernel memory: reading them does not block.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { errnoOf } from './agent-error.ts';

export interface Hierarchy {
  readonly mount: string;
  readonly version: 1 | 2;
  readonly controllers: readonly string[];
}

/** One `--cgroup` of launch with the values to set in it. */
export interface CgroupRequest {
  readonly mount: string;
  readonly path: string;
  readonly values: readonly (readonly [file: string, value: string])[];
}

export function parseHierarchies(mountinfo: string): Hierarchy[] {
  const found: Hierarchy[] = [];
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ', 2);
    const mount = before.split(' ')[4];
    const [fsType, , options = ''] = after.split(' ');
    if (mount === undefined) continue;
    if (fsType === 'cgroup2')
      found.push({ mount, version: 2, controllers: readList(`${mount}/cgroup.controllers`) });
    if (fsType === 'cgroup') {
      const controllers = options.split(',').filter((option) => option !== 'rw' && option !== 'ro');
      found.push({ mount, version: 1, controllers });
    }
  }
  return found;
}

export interface SandboxLimits {
  readonly memoryBytes: number;
  readonly cpuMilli: number;
}

export class Cgroups {
  readonly unified: Hierarchy | null;
  readonly memory: Hierarchy | null;
  readonly cpu: Hierarchy | null;
  readonly #prefix: string;

  constructor(hierarchies: readonly Hierarchy[], parent: string, stateDir: string, node: string) {
    const having = (controller: string) =>
      hierarchies.find((h) => h.controllers.includes(controller)) ?? null;
    this.unified = hierarchies.find((h) => h.version === 2) ?? null;
    this.memory = having('memory');
    this.cpu = having('cpu');
    const agent = createHash('sha256').update(stateDir).digest('hex').slice(0, 8);
    this.#prefix = `${parent}/${agent}-${node}`;
    if (this.unified !== null && this.unified.controllers.length > 0) this.#delegate(this.unified);
  }

  /** What launch makes for a sandbox. */
  requestsFor(key: string, limits: SandboxLimits): CgroupRequest[] {
    const values = new Map<Hierarchy, (readonly [string, string])[]>();
    if (this.unified) values.set(this.unified, []);
    if (this.memory) {
      const own = values.get(this.memory) ?? [];
      if (limits.memoryBytes > 0) {
        const file = this.memory.version === 2 ? 'memory.max' : 'memory.limit_in_bytes';
        own.push([file, String(limits.memoryBytes)]);
      }
      values.set(this.memory, own);
    }
    if (this.cpu && limits.cpuMilli > 0) {
      const own = values.get(this.cpu) ?? [];
      const quotaUs = limits.cpuMilli * 100;
      if (this.cpu.version === 2) own.push(['cpu.max', `${String(quotaUs)} 100000`]);
      else own.push(['cpu.cfs_period_us', '100000'], ['cpu.cfs_quota_us', String(quotaUs)]);
      values.set(this.cpu, own);
    }
    return [...values].map(([{ mount }, own]) => ({ mount, path: `${this.#prefix}/${key}`, values: own }));
  }

  of(key: string): SandboxCgroup {
    const at = (hierarchy: Hierarchy | null) =>
      hierarchy === null ? null : `${hierarchy.mount}/${this.#prefix}/${key}`;
    const all = new Set([at(this.unified), at(this.memory), at(this.cpu)].filter((path) => path !== null));
    return new SandboxCgroup(at(this.unified), at(this.memory), this.memory?.version ?? 2, [...all]);
  }

  /** Keys of the sandboxes whose groups stand, whether or not anything runs in them. */
  list(): string[] {
    const keys = new Set<string>();
    for (const hierarchy of [this.unified, this.memory, this.cpu]) {
      if (hierarchy === null) continue;
      for (const entry of entriesOf(`${hierarchy.mount}/${this.#prefix}`)) keys.add(entry);
    }
    return [...keys];
  }

  /** Removes the agent's own, now empty, level. */
  close(): void {
    for (const hierarchy of [this.unified, this.memory, this.cpu]) {
      if (hierarchy !== null) removeDirectory(`${hierarchy.mount}/${this.#prefix}`);
    }
  }

  #delegate(unified: Hierarchy): void {
    const wanted = unified.controllers
      .filter((each) => ['memory', 'cpu', 'pids'].includes(each))
      .map((each) => `+${each}`);
    let path = unified.mount;
    for (const part of ['', ...this.#prefix.split('/')]) {
      path = part === '' ? path : `${path}/${part}`;
      try {
        mkdirSync(path, { recursive: true });
        writeFileSync(`${path}/cgroup.subtree_control`, wanted.join(' '));
      } catch (error) {
        if (errnoOf(error) === undefined) throw error;
        return; // not delegated so far: features tell
      }
    }
  }
}

export interface Usage {
  readonly cpuUs: number;
  readonly memoryBytes: number;
  readonly memoryPeakBytes: number;
}

export class SandboxCgroup {
  readonly #unified: string | null;
  readonly #memory: string | null;
  readonly #memoryVersion: 1 | 2;
  readonly #all: readonly string[];

  constructor(unified: string | null, memory: string | null, memoryVersion: 1 | 2, all: readonly string[]) {
    this.#unified = unified;
    this.#memory = memory;
    this.#memoryVersion = memoryVersion;
    this.#all = all;
  }

  get canFreeze(): boolean {
    return this.#unified !== null && existsSync(`${this.#unified}/cgroup.freeze`);
  }

  exists(): boolean {
    return this.#all.some((path) => existsSync(path));
  }

  /** Whether any process is in it. */
  populated(): boolean {
    const events = this.#unified === null ? null : readFile(`${this.#unified}/cgroup.events`);
    if (events !== null) return /^populated 1$/m.test(events);
    return this.#all.some((path) => (readFile(`${path}/cgroup.procs`) ?? '').trim() !== '');
  }

  /** SIGKILL to all of it, frozen or not. */
  kill(): void {
    if (this.#unified !== null && writeFile(`${this.#unified}/cgroup.kill`, '1')) return;
    for (const path of this.#all) {
      for (const pid of (readFile(`${path}/cgroup.procs`) ?? '').split('\n').filter((line) => line !== '')) {
        try {
          process.kill(Number(pid), 'SIGKILL');
        } catch (error) {
          if (errnoOf(error) !== 'ESRCH') throw error;
        }
      }
    }
  }

  freeze(frozen: boolean): void {
    if (this.#unified !== null) writeFileSync(`${this.#unified}/cgroup.freeze`, frozen ? '1' : '0');
  }

  /** True once every process is frozen. */
  frozen(): boolean {
    const events = this.#unified === null ? null : readFile(`${this.#unified}/cgroup.events`);
    return events !== null && /^frozen 1$/m.test(events);
  }

  usage(): Usage {
    const cpu = this.#unified === null ? null : readFile(`${this.#unified}/cpu.stat`);
    const [current, peak] =
      this.#memoryVersion === 2
        ? ['memory.current', 'memory.peak']
        : ['memory.usage_in_bytes', 'memory.max_usage_in_bytes'];
    const memory = (file: string) =>
      Number((this.#memory === null ? null : readFile(`${this.#memory}/${file}`)) ?? 0);
    return {
      cpuUs: Number(/^usage_usec (\d+)$/m.exec(cpu ?? '')?.[1] ?? 0),
      memoryBytes: memory(current),
      memoryPeakBytes: memory(peak),
    };
  }

  oomKills(): number {
    if (this.#memory === null) return 0;
    const text = readFile(
      `${this.#memory}/${this.#memoryVersion === 2 ? 'memory.events' : 'memory.oom_control'}`,
    );
    return Number(/^oom_kill (\d+)$/m.exec(text ?? '')?.[1] ?? 0);
  }

  /** False while something keeps it: try again. */
  remove(): boolean {
    return this.#all.map(removeDirectory).every((gone) => gone);
  }
}

function removeDirectory(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return errnoOf(error) === 'ENOENT';
  }
}

function entriesOf(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function readFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null; // not there, or just removed
  }
}

function writeFile(path: string, text: string): boolean {
  try {
    writeFileSync(path, text);
    return true;
  } catch {
    return false;
  }
}

function readList(path: string): string[] {
  return (readFile(path) ?? '')
    .trim()
    .split(' ')
    .filter((word) => word !== '');
}
