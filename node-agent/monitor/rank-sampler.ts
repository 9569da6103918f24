// Measures the ranks of one sandbox: each with all processes that it started, from /proc, and those that have ended from
// rank-init's table. All totals are the kernel's and rank-init's own, so an agent that is started anew goes on at the same
// numbers. Processes that vanish while they are looked at are normal: they count with what is known once they have ended.
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import type { SandboxId } from '../../wire/agent-types.ts';
import type { RankSample } from '../../wire/agent-types.ts';
import { History, type HistoryTier, type Step } from './history.ts';
import { readOnce } from './kernel-file.ts';
import { steadyMs } from './node-sampler.ts';
import {
  innermostPidOf,
  processIoOf,
  processStatOf,
  processStatusOf,
  type ProcessStat,
} from './process-text.ts';

/** One rank as rank-init's table has it. */
export interface RankSlot {
  readonly rank: number;
  readonly running: boolean;
  /** In the sandbox's pid namespace. */
  readonly pid: number;
  /** Of one that has ended, with its children. */
  readonly userUs: number;
  readonly systemUs: number;
  readonly memoryPeakBytes: number;
  readonly majorFaults: number;
  readonly voluntarySwitches: number;
  readonly involuntarySwitches: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
}

export interface RankSource {
  readonly id: SandboxId;
  /** rank-init, as the node counts; null while there is none. */
  readonly initPid: number | null;
  /** All processes of the sandbox, as the node counts. */
  pids(): readonly number[];
  slots(): readonly RankSlot[];
}

interface Tree {
  readonly rank: number;
  readonly stats: ProcessStat[];
}

interface Baseline {
  readonly atMs: number;
  readonly cpuUs: number;
}

/** How much is read of each process. */
export type Depth = 'cpu' | 'io' | 'all';

const processesATurn = 64;
const mostRanksWithHistory = 4096;

export class RankSampler {
  readonly #source: RankSource;
  readonly #proc: string;
  readonly #steps: readonly Step[];
  readonly #histories = new Map<number, History>();
  readonly #baselines = new Map<number, Baseline>();
  readonly #samples = new Map<number, RankSample>();
  /** Number in the sandbox by `pid:start`, of what rank-init started or took in. */
  #innermost = new Map<string, number | null>();
  #sampling: Promise<void> | null = null;

  constructor(source: RankSource, steps: readonly Step[], proc = '/proc') {
    this.#source = source;
    this.#steps = steps;
    this.#proc = proc;
  }

  /** By rank, in the order of ranks. */
  get samples(): RankSample[] {
    return [...this.#samples.values()].sort((one, other) => one.rank - other.rank);
  }

  get bytes(): number {
    let sum = 0;
    for (const history of this.#histories.values()) sum += history.bytes;
    return sum;
  }

  historyOf(rank: number): HistoryTier[] {
    return this.#histories.get(rank)?.tiers() ?? [];
  }

  /** Of all ranks of the sandbox; what reads have not told yet counts 0. */
  get io(): { readonly readBytes: number; readonly writtenBytes: number } {
    let [readBytes, writtenBytes] = [0, 0];
    for (const sample of this.#samples.values()) {
      readBytes += sample.readBytes;
      writtenBytes += sample.writtenBytes;
    }
    return { readBytes, writtenBytes };
  }

  /** One at a time; a round that is wanted while one is at work waits for it. */
  async sample(depth: Depth, isRound: boolean): Promise<void> {
    while (this.#sampling) await this.#sampling;
    this.#sampling = this.#sample(depth, isRound).finally(() => {
      this.#sampling = null;
    });
    await this.#sampling;
  }

  async #sample(asked: Depth, isRound: boolean): Promise<void> {
    const { initPid } = this.#source;
    // What was brought from and to disks before this agent came is no news of the next minute.
    const depth = this.#samples.size === 0 && asked === 'cpu' ? 'io' : asked;
    const slots = this.#source.slots();
    const trees = initPid === null ? new Map<number, Tree>() : await this.#trees(initPid, slots);
    let done = 0;
    for (const slot of slots) {
      const tree = trees.get(slot.rank);
      if (slot.running && tree) {
        done += tree.stats.length;
        this.#live(tree, depth, isRound);
        if (done >= processesATurn) {
          done = 0;
          await turn();
        }
      } else if (!slot.running) this.#ended(slot);
    }
  }

  async #trees(initPid: number, slots: readonly RankSlot[]): Promise<Map<number, Tree>> {
    const stats = new Map<number, ProcessStat>();
    let done = 0;
    for (const pid of this.#source.pids()) {
      const stat = processStatOf(readOnce(`${this.#proc}/${String(pid)}/stat`) ?? '');
      if (stat && pid !== initPid) stats.set(pid, stat);
      if (++done % processesATurn === 0) await turn();
    }
    const rankOfInner = new Map(slots.filter(({ running }) => running).map(({ pid, rank }) => [pid, rank]));
    const rankOfPid = new Map<number, number>();
    const innermost = new Map<string, number | null>();
    for (const [pid, stat] of stats) {
      if (stat.parent !== initPid) continue;
      const key = `${String(pid)}:${String(stat.startTime)}`;
      const known = this.#innermost.get(key);
      const inner =
        known === undefined ? innermostPidOf(readOnce(`${this.#proc}/${String(pid)}/status`) ?? '') : known;
      innermost.set(key, inner);
      const rank = inner === null ? undefined : rankOfInner.get(inner);
      if (rank !== undefined) rankOfPid.set(pid, rank);
    }
    this.#innermost = innermost;
    const trees = new Map<number, Tree>();
    for (const [pid, stat] of stats) {
      const rank = rankFor(pid, stats, rankOfPid);
      if (rank === undefined) continue;
      const tree = trees.get(rank) ?? { rank, stats: [] };
      trees.set(rank, tree);
      // The rank's own process first.
      if (rankOfPid.has(pid)) tree.stats.unshift(stat);
      else tree.stats.push(stat);
    }
    return trees;
  }

  #live({ rank, stats }: Tree, depth: Depth, isRound: boolean): void {
    const nowMs = steadyMs();
    const before = this.#samples.get(rank);
    const sum = (of: (stat: ProcessStat) => number) => stats.reduce((total, stat) => total + of(stat), 0);
    const busiest = stats.reduce((most, each) => (cpuOf(each) > cpuOf(most) ? each : most), stats[0]!);
    const [userUs, systemUs] = [sum((stat) => stat.userUs), sum((stat) => stat.systemUs)];
    const cpuUs = userUs + systemUs;
    const base = this.#baselines.get(rank);
    // Against a reading a moment ago ticks are too coarse.
    const isOld = base !== undefined && nowMs - base.atMs >= 900;
    const cores = isOld ? Math.max(0, cpuUs - base.cpuUs) / 1000 / (nowMs - base.atMs) : (before?.cores ?? 0);
    const io = depth === 'cpu' ? null : this.#ioOf(stats);
    const detail = depth === 'all' ? this.#detailOf(stats) : null;
    const sample: RankSample = {
      id: this.#source.id,
      rank,
      pid: stats[0]!.pid,
      state: busiest.state,
      waitsFor:
        depth === 'all'
          ? waitOf(readOnce(`${this.#proc}/${String(busiest.pid)}/wchan`))
          : (before?.waitsFor ?? ''),
      userUs,
      systemUs,
      cores,
      memoryBytes: sum((stat) => stat.memoryPages) * pageBytes(),
      memoryPeakBytes: detail?.memoryPeakBytes ?? before?.memoryPeakBytes ?? 0,
      // A child that has ended and was not waited for yet is in neither: totals never fall.
      readBytes: Math.max(io?.readBytes ?? 0, before?.readBytes ?? 0),
      writtenBytes: Math.max(io?.writtenBytes ?? 0, before?.writtenBytes ?? 0),
      processes: stats.length,
      threads: sum((stat) => stat.threads),
      voluntarySwitches: detail?.voluntarySwitches ?? before?.voluntarySwitches ?? 0,
      involuntarySwitches: detail?.involuntarySwitches ?? before?.involuntarySwitches ?? 0,
      majorFaults: sum((stat) => stat.majorFaults),
    };
    this.#samples.set(rank, sample);
    if (!isRound) return;
    if (isOld || !base) this.#baselines.set(rank, { atMs: nowMs, cpuUs });
    if (base) this.#historyFor(rank)?.add(nowMs, [cores, sample.memoryBytes]);
  }

  #ended(slot: RankSlot): void {
    const { rank, running: _running, pid: _pid, ...totals } = slot;
    const before = this.#samples.get(rank);
    if (before && before.processes === 0) return;
    this.#baselines.delete(rank);
    this.#samples.set(rank, {
      ...{ id: this.#source.id, rank, pid: before?.pid ?? 0, state: 'X', waitsFor: '' },
      ...totals,
      readBytes: Math.max(totals.readBytes, before?.readBytes ?? 0),
      writtenBytes: Math.max(totals.writtenBytes, before?.writtenBytes ?? 0),
      ...{ cores: 0, memoryBytes: 0, processes: 0, threads: 0 },
    });
  }

  #ioOf(stats: readonly ProcessStat[]): { readBytes: number; writtenBytes: number } {
    let [readBytes, writtenBytes] = [0, 0];
    for (const { pid } of stats) {
      const io = processIoOf(readOnce(`${this.#proc}/${String(pid)}/io`) ?? '');
      readBytes += io.readBytes;
      writtenBytes += io.writtenBytes;
    }
    return { readBytes, writtenBytes };
  }

  #detailOf(stats: readonly ProcessStat[]) {
    let [memoryPeakBytes, voluntarySwitches, involuntarySwitches] = [0, 0, 0];
    for (const { pid } of stats) {
      const status = processStatusOf(readOnce(`${this.#proc}/${String(pid)}/status`) ?? '');
      memoryPeakBytes = Math.max(memoryPeakBytes, status.memoryPeakBytes);
      voluntarySwitches += status.voluntarySwitches;
      involuntarySwitches += status.involuntarySwitches;
    }
    return { memoryPeakBytes, voluntarySwitches, involuntarySwitches };
  }

  #historyFor(rank: number): History | undefined {
    let history = this.#histories.get(rank);
    if (!history && this.#histories.size < mostRanksWithHistory) {
      history = new History(2, this.#steps);
      this.#histories.set(rank, history);
    }
    return history;
  }
}

/** By the way up to what rank-init started, or, of one that lost its parents, by the session that its rank began. */
function rankFor(
  pid: number,
  stats: ReadonlyMap<number, ProcessStat>,
  rankOfPid: ReadonlyMap<number, number>,
): number | undefined {
  let at: number | undefined = pid;
  for (let steps = 0; at !== undefined && steps < 64; steps++) {
    const rank = rankOfPid.get(at);
    if (rank !== undefined) return rank;
    at = stats.get(at)?.parent;
  }
  return rankOfPid.get(stats.get(pid)?.session ?? -1);
}

const cpuOf = ({ userUs, systemUs }: ProcessStat): number => userUs + systemUs;

/** "0" is what the kernel says of one that runs, or that it will not tell. */
const waitOf = (wchan: string | null): string => (wchan === null || wchan === '0' ? '' : wchan.trim());

let knownPageBytes = 0;

/** AT_PAGESZ of the auxiliary vector. */
function pageBytes(): number {
  if (knownPageBytes > 0) return knownPageBytes;
  knownPageBytes = 4096;
  try {
    const vector = readFileSync('/proc/self/auxv');
    for (let at = 0; at + 16 <= vector.length; at += 16)
      if (vector.readBigUInt64LE(at) === 6n) knownPageBytes = Number(vector.readBigUInt64LE(at + 8));
  } catch {
    // As on most machines.
  }
  return knownPageBytes;
}
