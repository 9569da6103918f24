// What this node has and how busy it is: capacity once, load with every heartbeat. Figures of the kernel, not judged here.
import { readFileSync, statfsSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { arch, loadavg, release, totalmem } from 'node:os';
import type { Capacity, Load, Sent } from '../wire/agent-types.ts';
import type { Topology } from './topology.ts';

export function capacityOf(topology: Topology): Sent<Capacity> {
  return {
    cpus: topology.processors.length,
    memoryBytes: totalmem(),
    sockets: topology.sockets,
    cores: topology.cores,
    architecture: arch(),
    kernel: release(),
    os: /^PRETTY_NAME="?([^"\n]*)"?/m.exec(read('/etc/os-release'))?.[1] ?? 'Linux',
    topologyXmlDigest: createHash('sha256').update(JSON.stringify(topology.processors)).digest('hex'),
  };
}

export function loadOf(stateDir: string, sandboxes: number, ranks: number): Sent<Load> {
  const memory = read('/proc/meminfo');
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(memory)?.[1] ?? 0) * 1024;
  const pressure = (what: string) =>
    Number(/^some avg10=([\d.]+)/m.exec(read(`/proc/pressure/${what}`))?.[1] ?? 0);
  const [load1 = 0, load5 = 0, load15 = 0] = loadavg();
  const disk = statfsSync(stateDir);
  return {
    load1,
    load5,
    load15,
    memoryAvailableBytes: kib('MemAvailable'),
    swapUsedBytes: kib('SwapTotal') - kib('SwapFree'),
    cpuPressureAvg10: pressure('cpu'),
    memoryPressureAvg10: pressure('memory'),
    ioPressureAvg10: pressure('io'),
    diskFreeBytes: disk.bavail * disk.bsize,
    diskTotalBytes: disk.blocks * disk.bsize,
    sandboxes,
    ranks,
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
