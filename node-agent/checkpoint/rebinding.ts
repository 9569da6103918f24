// Ranks that were brought back are bound as they were asked to be, to processors of this node: the engine does not know what
// processes were bound to, and the node may be another one. What a rank has started is bound with it, thread by thread.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { innermostPidOf } from '../monitor/process-text.ts';
import { cpuListOf } from '../processors.ts';

const run = promisify(execFile);

export interface BoundRank {
  /** In the sandbox. */
  readonly pid: number;
  readonly cpus: readonly number[];
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly inner: number | null;
}

/** `pids`: of all processes of the sandbox, as the host knows them. Gives those that could not be bound. */
export async function bindAgain(ranks: readonly BoundRank[], pids: readonly number[]): Promise<number[]> {
  const failed: number[] = [];
  for (const [pid, cpus] of cpusOf(ranks, pids.flatMap(processOf))) {
    try {
      await run('taskset', ['-a', '-c', '-p', cpuListOf(cpus), String(pid)]);
    } catch {
      if (processOf(pid).length > 0) failed.push(pid);
    }
  }
  return failed;
}

/** Processors of each process that is a rank, or was started by one. */
export function cpusOf(
  ranks: readonly BoundRank[],
  processes: readonly Process[],
): Map<number, readonly number[]> {
  const byPid = new Map(processes.map((process) => [process.pid, process]));
  const found = new Map<number, readonly number[]>();
  for (const { pid } of processes) {
    let each = byPid.get(pid);
    for (let steps = 0; each && steps <= processes.length; steps++) {
      const { inner } = each;
      const rank = ranks.find((one) => one.pid === inner);
      if (rank) {
        found.set(pid, rank.cpus);
        break;
      }
      each = byPid.get(each.parent);
    }
  }
  return found;
}

/** None when it has ended. */
function processOf(pid: number): Process[] {
  try {
    const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
    const parent = Number(/^PPid:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    return [{ pid, parent, inner: innermostPidOf(status) }];
  } catch {
    return [];
  }
}
