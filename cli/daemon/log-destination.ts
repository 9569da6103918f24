/**
 * Where a daemon's log lines go: to a descriptor, each at once. A line that cannot be written (a full disk, a closed pipe) is
 * lost and counted, and the next one that can be written says how many were: a daemon never waits for its log.
 */
import { writeSync } from 'node:fs';

export interface LogDestination {
  write(line: string): void;
}

/** `write` is as writeSync: it returns how many bytes it took, or throws. */
export function logDestination(
  write: (bytes: Uint8Array) => number = (bytes) => writeSync(process.stdout.fd, bytes),
): LogDestination {
  let lost = 0;
  let torn = false;
  const put = (line: string): boolean => {
    let bytes: Uint8Array = Buffer.from(torn ? `\n${line}` : line);
    const whole = bytes.length;
    try {
      while (bytes.length > 0) bytes = bytes.subarray(write(bytes));
    } catch {
      torn ||= bytes.length < whole;
      return false;
    }
    torn = false;
    return true;
  };
  return {
    write: (line) => {
      if (lost > 0 && put(`{"level":40,"lost":${lost},"msg":"log lines could not be written"}\n`)) lost = 0;
      if (lost > 0 || !put(line)) lost++;
    },
  };
}
