// After an engine that could not tidy up: killed while it was at a sandbox, by whomever. Its lock on the network is taken away
// and connections that it left in repair mode are let go on; else the ranks would wait for each other forever. What it was
// doing to a process at that instant nobody can undo: such a process ends by a signal, and is told as any other.
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Native } from '../../native/addon/index.ts';
import { errnoOf } from '../agent-error.ts';

const run = promisify(execFile);
/** What fits of an id into the name of a table. */
const lockName = /^table inet (CRIU-[0-9a-f-]{8,36})$/gm;

/** `initPid`: of the sandbox, in whose network namespace the engine worked. Gives what was found and undone. */
export async function repair(
  native: Native,
  initPid: number,
  pids: readonly number[],
  log: string,
): Promise<string[]> {
  return [...(await removeLocks(initPid, log)), ...endRepairs(native, pids)];
}

/** The lock's table is named by the id of the engine's run, which stands in its log. */
async function removeLocks(initPid: number, log: string): Promise<string[]> {
  const inside = [`--net=/proc/${String(initPid)}/ns/net`, 'nft'];
  const done: string[] = [];
  const { stdout } = await run('nsenter', [...inside, 'list', 'tables']);
  for (const [, name = ''] of stdout.matchAll(lockName)) {
    if (!log.includes(name.slice('CRIU-'.length))) continue;
    await run('nsenter', [...inside, 'delete', 'table', 'inet', name]);
    done.push(`table ${name}`);
  }
  return done;
}

function endRepairs(native: Native, pids: readonly number[]): string[] {
  const done: string[] = [];
  for (const pid of pids) {
    let pidfd: number;
    let names: string[];
    try {
      pidfd = native.pidfdOpen(pid);
    } catch {
      continue; // ended meanwhile
    }
    try {
      names = readdirSync(`/proc/${String(pid)}/fd`);
      for (const name of names)
        if (endRepair(native, pid, pidfd, name)) done.push(`socket ${name} of ${String(pid)}`);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ESRCH') throw error;
    } finally {
      native.close(pidfd);
    }
  }
  return done;
}

function endRepair(native: Native, pid: number, pidfd: number, name: string): boolean {
  try {
    if (!readlinkSync(`/proc/${String(pid)}/fd/${name}`).startsWith('socket:')) return false;
    const fd = native.pidfdGetfd(pidfd, Number(name));
    try {
      return native.endTcpRepair(fd);
    } finally {
      native.close(fd);
    }
  } catch {
    return false; // closed meanwhile
  }
}

export function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
