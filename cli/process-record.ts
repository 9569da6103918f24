/**
 * Which process plays a part of a home (supervisor, controller, an agent): a small file that names it by pid, start time and
 * boot, so that a pid used again by a stranger is never signalled.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

export interface ProcessRecord {
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
}

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Clock ticks since boot (proc(5), field 22), or undefined when there is no such process or only its zombie. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export function writeProcessRecord(file: string, pid = process.pid): void {
  const record: ProcessRecord = { pid, startTime: startTimeOf(pid) ?? '', bootId: bootId() };
  writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function removeProcessRecord(file: string): void {
  rmSync(file, { force: true });
}

/** The process that the file names, if it still runs. */
export function livingProcess(file: string): ProcessRecord | undefined {
  let record: ProcessRecord;
  try {
    record = JSON.parse(readFileSync(file, 'utf8')) as ProcessRecord;
  } catch {
    return undefined;
  }
  if (!Number.isSafeInteger(record.pid) || record.pid < 2 || record.bootId !== bootId()) return undefined;
  return isLiving(record) ? record : undefined;
}

/** Whether that very process still runs, also when its file has been removed or names another. */
export const isLiving = (record: ProcessRecord): boolean => startTimeOf(record.pid) === record.startTime;
