// Measures the machine: reads a dozen small files of the kernel and compares them with the reading before. Shares and rates are
// over the time of a clock that nobody sets. It judges nothing, waits for nothing, and asks no file system (those may hang).
import { hrtime } from 'node:process';
import { readdirSync } from 'node:fs';
import type { NetworkFigures, NodeFigures } from '../../wire/agent-types.ts';
import { KernelFile, readOnce } from './kernel-file.ts';
import {
  cpuSharesOf,
  diskTrafficOf,
  interfacesOf,
  loadAverageOf,
  memoryOf,
  pressureOf,
  procStatOf,
  type DiskTraffic,
  type InterfaceTraffic,
  type ProcStat,
} from './node-text.ts';

export type Measured = Omit<
  NodeFigures,
  'sandboxes' | 'ranks' | 'frozen' | 'clockKnown' | 'clockOffsetMs'
> & {
  readonly networks: NetworkFigures[];
};

/** Milliseconds of a clock that nobody sets. */
export const steadyMs = (): number => Number(hrtime.bigint() / 1000n) / 1000;

const mostInterfaces = 16;

export class NodeSampler implements Disposable {
  readonly #stat = new KernelFile('/proc/stat');
  readonly #memory = new KernelFile('/proc/meminfo');
  readonly #load = new KernelFile('/proc/loadavg');
  readonly #pressure = ['cpu', 'memory', 'io'].map((what) => new KernelFile(`/proc/pressure/${what}`));
  readonly #disks = new KernelFile('/proc/diskstats');
  readonly #network = new KernelFile('/proc/net/dev');
  #before: {
    atMs: number;
    stat: ProcStat | null;
    disks: DiskTraffic;
    network: ReadonlyMap<string, InterfaceTraffic>;
  } | null = null;

  measure(): Measured {
    const atMs = steadyMs();
    const stat = procStatOf(this.#stat.read() ?? '');
    const disks = diskTrafficOf(this.#disks.read() ?? '');
    const network = interfacesOf(this.#network.read() ?? '');
    const before = this.#before;
    this.#before = { atMs, stat, disks, network };
    const seconds = before ? Math.max(0.001, (atMs - before.atMs) / 1000) : Infinity;
    const rate = (now: number, was: number | undefined) => Math.max(0, now - (was ?? now)) / seconds;
    const memory = memoryOf(this.#memory.read() ?? '');
    const [cpu = 0, ofMemory = 0, io = 0] = this.#pressure.map((file) => pressureOf(file.read()));
    return {
      ...(stat
        ? cpuSharesOf(before?.stat?.all, stat.all)
        : { busy: 0, user: 0, system: 0, iowait: 0, steal: 0 }),
      cores: stat
        ? [...stat.each].map(([number, ticks]) => cpuSharesOf(before?.stat?.each.get(number), ticks).busy)
        : [],
      ...loadAverageOf(this.#load.read() ?? ''),
      memoryTotalBytes: memory.totalBytes,
      memoryAvailableBytes: memory.availableBytes,
      swapTotalBytes: memory.swapTotalBytes,
      swapUsedBytes: memory.swapUsedBytes,
      cpuPressureAvg10: cpu,
      memoryPressureAvg10: ofMemory,
      ioPressureAvg10: io,
      readBytesPerSecond: rate(disks.readBytes, before?.disks.readBytes),
      writtenBytesPerSecond: rate(disks.writtenBytes, before?.disks.writtenBytes),
      networks: [...network]
        .filter(([name]) => isPhysical(name))
        .slice(0, mostInterfaces)
        .map(([name, now]) => ({
          name,
          speedMbit: Math.max(0, Number(readOnce(`/sys/class/net/${name}/speed`) ?? 0)) || 0,
          receivedBytesPerSecond: rate(now.receivedBytes, before?.network.get(name)?.receivedBytes),
          sentBytesPerSecond: rate(now.sentBytes, before?.network.get(name)?.sentBytes),
          errors: now.errors,
          drops: now.drops,
        })),
    };
  }

  [Symbol.dispose](): void {
    for (const file of [this.#stat, this.#memory, this.#load, this.#disks, this.#network, ...this.#pressure])
      file[Symbol.dispose]();
  }
}

/** Links of jobs and containers come and go by the hundred; bonds, bridges and what has a device stay. */
function isPhysical(name: string): boolean {
  return !/^(?:m[bsv][0-9a-z]{13}$|veth|docker|cni|cali|flannel|tap|tun|dummy|ifb)/.test(name);
}

export interface ErrorCounts {
  readonly corrected: number;
  readonly uncorrected: number;
}

/** Errors of memory since boot, where the kernel shows them (EDAC); null where it does not. */
export function memoryErrors(root = '/sys/devices/system/edac/mc'): ErrorCounts | null {
  let names: string[];
  try {
    names = readdirSync(root).filter((name) => /^mc\d+$/.test(name));
  } catch {
    return null;
  }
  if (names.length === 0) return null;
  const sum = (file: string) =>
    names.reduce((total, name) => total + Number(readOnce(`${root}/${name}/${file}`) ?? 0), 0);
  return { corrected: sum('ce_count'), uncorrected: sum('ue_count') };
}
