// Processes that were frozen while they started another one by vfork(2): until that has become a program of its own its parent cannot
// be stopped by anybody, nor saved. Of what is frozen nothing else is in that state (D in proc(5)), but what version 1 of control groups
// has frozen, all of which is: it waits in the kernel's refrigerator.
// And processes that are to become ranks and were frozen before they did: they are still pid 1's own program, with its rights, and an
// image of them would ask for more than the group may have.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export const isForking = (pids: readonly number[]): boolean => pids.some(hasForkingThread);

function hasForkingThread(pid: number): boolean {
  const tasks = `/proc/${String(pid)}/task`;
  try {
    return readdirSync(tasks).some(
      (tid) =>
        stateOf(readFileSync(`${tasks}/${tid}/stat`, 'latin1')) === 'D' &&
        readFileSync(`${tasks}/${tid}/wchan`, 'latin1') !== '__refrigerator',
    );
  } catch {
    return false; // it has ended
  }
}

export function isStarting(pids: readonly number[], initPid: number): boolean {
  const own = programOf(initPid);
  return own !== undefined && pids.some((pid) => pid !== initPid && programOf(pid) === own);
}

function programOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${String(pid)}/exe`);
  } catch {
    return undefined; // it has ended
  }
}

/** The name, in parentheses before it, may hold anything. */
export const stateOf = (stat: string): string => stat.slice(stat.lastIndexOf(')') + 2)[0] ?? '';
