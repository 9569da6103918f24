// What the kernel's files on the whole machine say, as numbers: processors, memory, pressure, disks, network. Texts in, plain
// data out; what is missing in a text, or was cut off, is left out or 0. Nothing is read here and nothing judged.

/** Ticks since boot, as in /proc/stat. */
export interface CpuTicks {
  readonly user: number;
  readonly system: number;
  readonly idle: number;
  readonly iowait: number;
  readonly steal: number;
}

export interface ProcStat {
  readonly all: CpuTicks;
  /** By the number of the processor; one that is offline is not there. */
  readonly each: ReadonlyMap<number, CpuTicks>;
}

export function procStatOf(text: string): ProcStat | null {
  let all: CpuTicks | null = null;
  const each = new Map<number, CpuTicks>();
  for (const line of text.split('\n')) {
    if (!line.startsWith('cpu')) break;
    const [name = '', ...words] = line.split(/\s+/);
    const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] =
      words.map(Number);
    const ticks = { user: user + nice, system: system + irq + softirq, idle, iowait, steal };
    if (name === 'cpu') all = ticks;
    else each.set(Number(name.slice(3)), ticks);
  }
  return all && { all, each };
}

export interface CpuShares {
  readonly busy: number;
  readonly user: number;
  readonly system: number;
  readonly iowait: number;
  readonly steal: number;
}

const idleShares: CpuShares = { busy: 0, user: 0, system: 0, iowait: 0, steal: 0 };

/** Of the time between two readings. Counters that went back (the kernel lets idle and iowait do so) count as not moved. */
export function cpuSharesOf(before: CpuTicks | undefined, now: CpuTicks): CpuShares {
  if (!before) return idleShares;
  const grown = (key: keyof CpuTicks) => Math.max(0, now[key] - before[key]);
  const [user, system, idle, iowait, steal] = [
    grown('user'),
    grown('system'),
    grown('idle'),
    grown('iowait'),
    grown('steal'),
  ];
  const total = user + system + idle + iowait + steal;
  if (total === 0) return idleShares;
  return {
    busy: (user + system + steal) / total,
    user: user / total,
    system: system / total,
    iowait: iowait / total,
    steal: steal / total,
  };
}

export interface Memory {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
}

export function memoryOf(meminfo: string): Memory {
  const bytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0) * 1024;
  const swapTotalBytes = bytes('SwapTotal');
  return {
    totalBytes: bytes('MemTotal'),
    availableBytes: bytes('MemAvailable'),
    swapTotalBytes,
    swapUsedBytes: Math.max(0, swapTotalBytes - bytes('SwapFree')),
  };
}

/** Percent of the last ten seconds in which something waited; 0 where the kernel does not count it. */
export const pressureOf = (text: string | null): number =>
  Number(/^some avg10=([\d.]+)/m.exec(text ?? '')?.[1] ?? 0);

export interface LoadAverage {
  readonly load1: number;
  readonly load5: number;
  readonly load15: number;
  readonly processes: number;
}

export function loadAverageOf(text: string): LoadAverage {
  const [load1 = 0, load5 = 0, load15 = 0] = text.split(' ', 3).map(Number);
  const processes = Number(/\d+\/(\d+)/.exec(text)?.[1] ?? 0);
  return { load1, load5, load15, processes };
}

export interface DiskTraffic {
  readonly readBytes: number;
  readonly writtenBytes: number;
}

/** Of all whole disks: partitions, and devices that lie on others, would count twice. */
export function diskTrafficOf(diskstats: string): DiskTraffic {
  let readSectors = 0;
  let writtenSectors = 0;
  for (const line of diskstats.split('\n')) {
    const fields = line.trim().split(/\s+/);
    const name = fields[2];
    if (name === undefined || !isWholeDisk(name)) continue;
    readSectors += Number(fields[5] ?? 0);
    writtenSectors += Number(fields[9] ?? 0);
  }
  return { readBytes: readSectors * 512, writtenBytes: writtenSectors * 512 };
}

const isWholeDisk = (name: string): boolean =>
  /^(?:[shv]d[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+|pmem\d+|dasd[a-z]+)$/.test(name);

export interface InterfaceTraffic {
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly errors: number;
  readonly drops: number;
}

/** Of /proc/net/dev, by interface; without the loopback, and without what Muster itself makes for jobs. */
export function interfacesOf(text: string): Map<string, InterfaceTraffic> {
  const found = new Map<string, InterfaceTraffic>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).trim();
    if (name === '' || name === 'lo' || name.includes('|')) continue;
    const field = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    if (field.length < 12) continue;
    found.set(name, {
      receivedBytes: field[0] ?? 0,
      sentBytes: field[8] ?? 0,
      errors: (field[2] ?? 0) + (field[10] ?? 0),
      drops: (field[3] ?? 0) + (field[11] ?? 0),
    });
  }
  return found;
}
