// What /proc says of one process, as plain data. Texts in, data out; a text that was cut off or is of something else is null.

const ticksPerSecond = 100; // USER_HZ, on all of Linux
const usPerTick = 1e6 / ticksPerSecond;

export interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  readonly majorFaults: number;
  /** With the time of children that have ended and were waited for. */
  readonly userUs: number;
  readonly systemUs: number;
  readonly threads: number;
  /** In ticks since boot: with it a pid names one process for good. */
  readonly startTime: number;
  readonly memoryPages: number;
}

/** Of /proc/PID/stat. The name of the program may hold anything, blanks and parentheses too. */
export function processStatOf(text: string): ProcessStat | null {
  const end = text.lastIndexOf(')');
  if (end < 0) return null;
  const field = text.slice(end + 2).split(' ');
  if (field.length < 22) return null;
  const number = (index: number) => Number(field[index - 3]);
  return {
    pid: Number.parseInt(text, 10),
    state: field[0] ?? '?',
    parent: number(4),
    session: number(6),
    majorFaults: number(12) + number(13),
    userUs: (number(14) + number(16)) * usPerTick,
    systemUs: (number(15) + number(17)) * usPerTick,
    threads: number(20),
    startTime: number(22),
    memoryPages: Math.max(0, number(24)),
  };
}

export interface ProcessIo {
  readonly readBytes: number;
  readonly writtenBytes: number;
}

/** Of /proc/PID/io: what went from and to disks. */
export function processIoOf(text: string): ProcessIo {
  const bytes = (name: string) => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return { readBytes: bytes('read_bytes'), writtenBytes: bytes('write_bytes') };
}

export interface ProcessStatus {
  readonly memoryPeakBytes: number;
  readonly voluntarySwitches: number;
  readonly involuntarySwitches: number;
}

/** Of /proc/PID/status; switches are those of the first thread. */
export function processStatusOf(text: string): ProcessStatus {
  const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return {
    memoryPeakBytes: number('VmHWM') * 1024,
    voluntarySwitches: number('voluntary_ctxt_switches'),
    involuntarySwitches: number('nonvoluntary_ctxt_switches'),
  };
}

/** The number that the process has in its innermost pid namespace, of /proc/PID/status. */
export function innermostPidOf(status: string): number | null {
  const numbers = /^NSpid:\s+(.*)$/m.exec(status)?.[1]?.split(/\s+/);
  const last = numbers?.at(-1);
  return last === undefined ? null : Number(last);
}
