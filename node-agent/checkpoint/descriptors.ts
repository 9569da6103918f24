// What the processes of a sandbox have open, as one walk through /proc finds it: several look for different things in it, and of many
// processes with many descriptors each the walk is most of the work while they stand still. It judges nothing.
import { readdirSync, readlinkSync } from 'node:fs';

export interface Descriptor {
  readonly pid: number;
  /** The number, as a name in /proc/PID/fd. */
  readonly fd: string;
  /** As readlink(2) has it: a path, `socket:[INODE]`, `anon_inode:[KIND]`. */
  readonly target: string;
}

/** What ends or is closed meanwhile is left out. */
export function descriptorsOf(pids: readonly number[]): Descriptor[] {
  const found: Descriptor[] = [];
  for (const pid of pids) {
    const directory = `/proc/${String(pid)}/fd`;
    for (const fd of quietly(() => readdirSync(directory)) ?? []) {
      const target = quietly(() => readlinkSync(`${directory}/${fd}`));
      if (target !== undefined) found.push({ pid, fd, target });
    }
  }
  return found;
}

function quietly<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
