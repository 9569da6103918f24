// What this node has, told once a session: figures of the kernel, not judged here.
import { readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { arch, release, totalmem } from 'node:os';
import type { Capacity, Sent } from '../../wire/agent-types.ts';
import type { Topology } from '../topology.ts';

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

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
