// What /proc says of a process that is not our child: enough to know one again beyond doubt, after any restart of the
// agent. A pid alone names nobody: pids come again, start times and namespaces do not.
import { readFileSync, statSync } from 'node:fs';
import type { Identity } from './sandbox-directory.ts';

export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** Field 22 of /proc/PID/stat, in ticks since boot; null when there is no such process. */
export function startTimeOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  } catch {
    return null;
  }
}

export function pidNamespaceOf(pid: number): number | null {
  try {
    return statSync(`/proc/${String(pid)}/ns/pid`).ino;
  } catch {
    return null;
  }
}

export function isSameProcess(identity: Identity): boolean {
  return startTimeOf(identity.pid) === identity.startTime && pidNamespaceOf(identity.pid) === identity.pidns;
}
