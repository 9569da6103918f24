// The control groups of this node's sandboxes, `<parent>/<agent>/<sandbox>` in every hierarchy that is there: the unified
// one freezes, kills and tells emptiness (it can without any controller); where there is none, version 1's freezer and cpuacct do.
// Those of memory, cpu and pids, whichever version they have, limit and count. Of the unified one only controllers that reach the
// agent's level count. The agent's part of the name comes from its state directory, so a restarted agent finds its own leftovers
// and nobody else's. Files of cgroups are kernel memory: reading them does not block.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { errnoOf } from './agent-error.ts';

/** Says below which cgroup an agent has those of its sandboxes. */
export const cgroupParentFileOf = (stateDir: string): string => `${stateDir}/cgroup-parent`;

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

/** The cgroup of the Pod that a sandbox is in, by the mount point of the hierarchy; of those without one it has no part. */
export type CarrierPlaces = Readonly<Record<string, string>>;

/** 0: none. */
export interface SandboxLimits {
  readonly memoryBytes: number;
  readonly cpuMilli: number;
  readonly processes: number;
}

const limiting = ['memory', 'cpu', 'pids'] as const;
type Limiting = (typeof limiting)[number];

export class Cgroups {
  readonly unified: Hierarchy | null;
  /** The one by which sandboxes are frozen and killed. */
  readonly freezer: Hierarchy | null;
  /** Counts processor time; null: the unified one does. */
  readonly #cpuacct: Hierarchy | null;
  readonly #limiting = new Map<Limiting, Hierarchy>();
  readonly #hierarchies: readonly Hierarchy[];
  /** Others of version 1 in which the agent is in a group that is ended with its container. */
  readonly #left: readonly string[];
  readonly #prefix: string;

  constructor(
    hierarchies: readonly Hierarchy[],
    parent: string,
    stateDir: string,
    node: string,
    isInContainer = false,
  ) {
    const agent = createHash('sha256').update(stateDir).digest('hex').slice(0, 8);
    this.#prefix = `${parent}/${agent}-${node}`;
    this.unified = hierarchies.find((h) => h.version === 2) ?? null;
    const only1 = (controller: string) =>
      this.unified ? null : (hierarchies.find((h) => h.controllers.includes(controller)) ?? null);
    this.freezer = this.unified ?? only1('freezer');
    this.#cpuacct = only1('cpuacct');
    const delegated = this.unified === null ? [] : this.#delegate(this.unified);
    for (const controller of limiting) {
      const found = hierarchies.find(
        (h) => h.controllers.includes(controller) && (h.version === 1 || delegated.includes(controller)),
      );
      if (found) this.#limiting.set(controller, found);
    }
    const used = new Set([this.freezer, this.#cpuacct, ...this.#limiting.values()]);
    this.#hierarchies = [...used].filter((h) => h !== null);
    const left = isInContainer ? hierarchies.filter(({ version }) => version === 1) : [];
    this.#left = [...new Set(left.map(({ mount }) => mount))];
  }

  canLimit(controller: Limiting): boolean {
    return this.#limiting.has(controller);
  }

  /**
   * What launch makes for a sandbox; a limit whose controller is missing is the caller's to refuse. A v1 hierarchy of processors that
   * does nothing else is entered for a limit only: in a group of its own a job of many ranks would get no more of a busy machine
   * than one process. Those in which it would stay in a container's it leaves: for its Pod's, or for none.
   */
  requestsFor(key: string, limits: SandboxLimits, carrier?: CarrierPlaces): CgroupRequest[] {
    const settings = new Map<Hierarchy, (readonly [string, string])[]>(
      this.#hierarchies.map((hierarchy) => [hierarchy, []]),
    );
    const set = (controller: Limiting, valuesOf: (hierarchy: Hierarchy) => (readonly [string, string])[]) => {
      const hierarchy = this.#limiting.get(controller);
      if (hierarchy) settings.get(hierarchy)?.push(...valuesOf(hierarchy));
    };
    if (limits.memoryBytes > 0) set('memory', (hierarchy) => memorySettings(hierarchy, limits.memoryBytes));
    if (limits.cpuMilli > 0) {
      const quotaUs = String(limits.cpuMilli * 100);
      set('cpu', ({ version }) =>
        version === 2
          ? [['cpu.max', `${quotaUs} 100000`]]
          : [
              ['cpu.cfs_period_us', '100000'],
              ['cpu.cfs_quota_us', quotaUs],
            ],
      );
    }
    if (limits.processes > 0) set('pids', () => [['pids.max', String(limits.processes)]]);
    const cpu = this.#limiting.get('cpu');
    if (
      cpu?.version === 1 &&
      limits.cpuMilli === 0 &&
      cpu !== this.#cpuacct &&
      !cpu.controllers.some(limitsElse)
    )
      settings.delete(cpu);
    const own = [...settings].map(([{ mount }, values]) => ({
      mount,
      path: this.#path(mount, key, carrier),
      values,
    }));
    const left = this.#left.filter((mount) => own.every((each) => each.mount !== mount));
    return [...own, ...left.map((mount) => ({ mount, path: carrier?.[mount] ?? '.', values: [] }))];
  }

  /** Mount points of all that sandboxes are in. */
  get mounts(): readonly string[] {
    return [...new Set([...this.#hierarchies.map(({ mount }) => mount), ...this.#left])];
  }

  /** Beside the Pod's containers, not below one: a container's cgroup is emptied when it is started anew. */
  #path(mount: string, key: string, carrier: CarrierPlaces | undefined): string {
    const pod = carrier?.[mount];
    return pod === undefined ? `${this.#prefix}/${key}` : `${pod}/muster-${key}`;
  }

  of(key: string, carrier?: CarrierPlaces): SandboxCgroup {
    const at = (hierarchy: Hierarchy | null | undefined) =>
      hierarchy ? `${hierarchy.mount}/${this.#path(hierarchy.mount, key, carrier)}` : null;
    const memory = this.#limiting.get('memory');
    return new SandboxCgroup({
      unified: at(this.unified),
      freezer: at(this.freezer),
      cpuacct: at(this.#cpuacct),
      memory: at(memory),
      memoryVersion: memory?.version ?? 2,
      pids: at(this.#limiting.get('pids')),
      all: this.#hierarchies.map((hierarchy) => at(hierarchy) ?? ''),
    });
  }

  /** Keys of the sandboxes whose groups stand, whether or not anything runs in them. */
  list(): string[] {
    return [...new Set(this.#hierarchies.flatMap(({ mount }) => entriesOf(`${mount}/${this.#prefix}`)))];
  }

  /** Removes the agent's own, now empty, level. */
  close(): void {
    for (const { mount } of this.#hierarchies) removeDirectory(`${mount}/${this.#prefix}`);
  }

  /** Brings the limiting controllers down to the agent's level; gives back those that got there. */
  #delegate(unified: Hierarchy): string[] {
    const wanted = limiting.filter((each) => unified.controllers.includes(each));
    if (wanted.length === 0) return [];
    let path = unified.mount;
    for (const part of ['', ...this.#prefix.split('/')]) {
      if (part !== '') path = `${path}/${part}`;
      try {
        mkdirSync(path, { recursive: true });
      } catch (error) {
        if (errnoOf(error) === undefined) throw error;
        return [];
      }
      for (const controller of wanted) writeFile(`${path}/cgroup.subtree_control`, `+${controller}`);
    }
    return readList(`${path}/cgroup.subtree_control`);
  }
}

const limitsElse = (controller: string): boolean => controller === 'memory' || controller === 'pids';

/** Memory that is swapped out is memory still. */
function memorySettings({ mount, version }: Hierarchy, bytes: number): (readonly [string, string])[] {
  if (version === 1) {
    const limit = ['memory.limit_in_bytes', String(bytes)] as const;
    const swap = 'memory.memsw.limit_in_bytes';
    return existsSync(`${mount}/${swap}`) ? [limit, [swap, String(bytes)]] : [limit];
  }
  const limit = ['memory.max', String(bytes)] as const;
  return swapIsAccounted() ? [limit, ['memory.swap.max', '0']] : [limit];
}

/** memory.swap.* exist in every v2 cgroup but the root, unless the kernel was told otherwise. */
function swapIsAccounted(): boolean {
  return !/\bswapaccount=0\b/.test(readFile('/proc/cmdline') ?? '') && existsSync('/proc/swaps');
}

export interface Usage {
  readonly cpuUs: number;
  readonly userUs: number;
  readonly systemUs: number;
  readonly memoryBytes: number;
  readonly memoryPeakBytes: number;
}

/** Directories of one sandbox; null: there is none. */
interface Places {
  readonly unified: string | null;
  readonly freezer: string | null;
  readonly cpuacct: string | null;
  readonly memory: string | null;
  readonly memoryVersion: 1 | 2;
  readonly pids: string | null;
  readonly all: readonly string[];
}

export class SandboxCgroup {
  /** Its directory in the hierarchy of version 2. */
  readonly unified: string | null;
  /** Its directory where it is frozen, of either version. */
  readonly freezer: string | null;
  readonly #cpuacct: string | null;
  readonly #memory: string | null;
  readonly #memoryVersion: 1 | 2;
  readonly #pids: string | null;
  readonly #all: readonly string[];

  constructor({ unified, freezer, cpuacct, memory, memoryVersion, pids, all }: Places) {
    this.unified = unified;
    this.freezer = freezer;
    this.#cpuacct = cpuacct;
    this.#memory = memory;
    this.#memoryVersion = memoryVersion;
    this.#pids = pids;
    this.#all = all;
  }

  get canFreeze(): boolean {
    return this.freezer !== null && existsSync(`${this.freezer}/${this.#freezeFile}`);
  }

  /** What is frozen in it does not even die: so has version 1 it. */
  get keepsFrozen(): boolean {
    return this.unified === null && this.canFreeze && this.frozen();
  }

  exists(): boolean {
    return this.#all.some((path) => existsSync(path));
  }

  /** Whether any process is in it. */
  populated(): boolean {
    const events = this.unified === null ? null : readFile(`${this.unified}/cgroup.events`);
    if (events !== null) return /^populated 1$/m.test(events);
    return this.#all.some((path) => (readFile(`${path}/cgroup.procs`) ?? '').trim() !== '');
  }

  /** The host's numbers of all its processes. */
  pids(): number[] {
    const path = this.freezer ?? this.#all[0];
    const text = path === undefined ? '' : (readFile(`${path}/cgroup.procs`) ?? '');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  }

  /** SIGKILL to all of it, frozen or not. What version 1 has frozen dies once it is thawed, and forks no more until then. */
  kill(): void {
    if (this.unified !== null && writeFile(`${this.unified}/cgroup.kill`, '1')) return;
    if (this.unified === null && this.canFreeze) this.freeze(true);
    this.#killEach();
    if (this.unified === null && this.canFreeze) this.freeze(false);
  }

  #killEach(): void {
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
    if (this.freezer === null) return;
    const values = this.unified === null ? ['THAWED', 'FROZEN'] : ['0', '1'];
    writeFileSync(`${this.freezer}/${this.#freezeFile}`, values[Number(frozen)] ?? '');
  }

  /** True once every process is frozen. */
  frozen(): boolean {
    if (this.freezer === null) return false;
    // Of version 1, reading makes FROZEN out of FREEZING.
    if (this.unified === null) return readFile(`${this.freezer}/freezer.state`)?.trim() === 'FROZEN';
    return /^frozen 1$/m.test(readFile(`${this.freezer}/cgroup.events`) ?? '');
  }

  get #freezeFile(): string {
    return this.unified === null ? 'freezer.state' : 'cgroup.freeze';
  }

  usage(): Usage {
    const [current, peak] =
      this.#memoryVersion === 2
        ? ['memory.current', 'memory.peak']
        : ['memory.usage_in_bytes', 'memory.max_usage_in_bytes'];
    const memory = (file: string) =>
      Number((this.#memory === null ? null : readFile(`${this.#memory}/${file}`)) ?? 0);
    return {
      ...this.#processorTime(),
      memoryBytes: memory(current),
      memoryPeakBytes: memory(peak),
    };
  }

  #processorTime(): Pick<Usage, 'cpuUs' | 'userUs' | 'systemUs'> {
    const number = (path: string | null, file: string, pattern: RegExp) =>
      Number(pattern.exec((path === null ? null : readFile(`${path}/${file}`)) ?? '')?.[1] ?? 0);
    if (this.#cpuacct === null) {
      const us = (name: string) => number(this.unified, 'cpu.stat', new RegExp(`^${name}_usec (\\d+)$`, 'm'));
      return { cpuUs: us('usage'), userUs: us('user'), systemUs: us('system') };
    }
    const us = (name: string) =>
      Math.floor(number(this.#cpuacct, `cpuacct.usage_${name}`, /^(\d+)$/m) / 1000);
    const [userUs, systemUs] = [us('user'), us('sys')];
    return { cpuUs: userUs + systemUs, userUs, systemUs };
  }

  oomKills(): number {
    if (this.#memory === null) return 0;
    const text = readFile(
      `${this.#memory}/${this.#memoryVersion === 2 ? 'memory.events' : 'memory.oom_control'}`,
    );
    return Number(/^oom_kill (\d+)$/m.exec(text ?? '')?.[1] ?? 0);
  }

  /** How often a fork failed since there were too many processes. */
  forksRefused(): number {
    const text = this.#pids === null ? null : readFile(`${this.#pids}/pids.events`);
    return Number(/^max (\d+)$/m.exec(text ?? '')?.[1] ?? 0);
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
