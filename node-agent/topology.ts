// The processors of this node, read once from /sys, and the masks by which ranks are bound to them. Binding counts only
// processors that the agent itself may use; who is bound where is in processors.ts.
import { availableParallelism } from 'node:os';
import { readFileSync } from 'node:fs';

export interface Processor {
  readonly cpu: number;
  readonly core: number;
  readonly socket: number;
}

export interface Topology {
  readonly processors: readonly Processor[];
  readonly cores: number;
  readonly sockets: number;
}

export function readTopology(read: (path: string) => string | null = readText): Topology {
  const allowed = /^Cpus_allowed_list:\s*(\S+)/m.exec(read('/proc/self/status') ?? '')?.[1];
  const cpus = allowed === undefined ? [...Array(availableParallelism()).keys()] : parseCpuList(allowed);
  const processors = cpus.map((cpu) => {
    const directory = `/sys/devices/system/cpu/cpu${String(cpu)}/topology`;
    return {
      cpu,
      core: Number(read(`${directory}/core_id`) ?? cpu),
      socket: Math.max(0, Number(read(`${directory}/physical_package_id`) ?? 0)),
    };
  });
  return topologyOf(processors);
}

export function topologyOf(processors: readonly Processor[]): Topology {
  return {
    processors,
    cores: new Set(processors.map(coreKey)).size,
    sockets: new Set(processors.map((p) => p.socket)).size,
  };
}

/** The processors of each core or socket. */
export function unitsOf(kind: 'Core' | 'Socket', topology: Topology): number[][] {
  const keyOf = kind === 'Core' ? coreKey : (p: Processor) => String(p.socket);
  return [...Map.groupBy(topology.processors, keyOf).values()].map((unit) => unit.map(({ cpu }) => cpu));
}

export function cpuMaskOf(cpus: readonly number[]): Uint8Array {
  const mask = new Uint8Array((Math.floor(Math.max(...cpus) / 64) + 1) * 8);
  for (const cpu of cpus) mask[cpu >> 3] = (mask[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  return mask;
}

export function parseCpuList(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [first = NaN, last = first] = part.split('-').map(Number);
    return Number.isInteger(first) ? Array.from({ length: last - first + 1 }, (_, i) => first + i) : [];
  });
}

function coreKey(p: Processor): string {
  return `${String(p.socket)}/${String(p.core)}`;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}
