// Programs that take part in their own checkpoints (native/checkpoint): told before they are saved, waited for, and told again
// when they go on or have been brought back. Each has a FIFO in its sandbox's /dev/shm for what it is told, and puts its answer
// beside it. Those that have none are not kept waiting. A signal reaches ranks that do not use the library.
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';
import type { Native } from '../../native/addon/index.ts';
import { AgentError, errnoOf } from '../agent-error.ts';
import { innermostPidOf } from '../monitor/process-text.ts';
import type { RankSlot } from '../monitor/rank-sampler.ts';

const shape = /^muster-checkpoint\.(\d+)$/;
const lookEveryMs = 10;

export type Told = 'before' | 'continue' | 'restart';

/** Of the sandbox whose first process this is. */
const directoryOf = (initPid: number): string => `/proc/${String(initPid)}/root/dev/shm`;

/** Tells all programs that listen; gives their pids in the sandbox. */
export function tell(initPid: number, word: Told, number: number): number[] {
  const directory = directoryOf(initPid);
  return names(directory).flatMap((name) => {
    const pid = shape.exec(name)?.[1];
    return pid !== undefined && write(`${directory}/${name}`, `${word} ${String(number)}\n`)
      ? [Number(pid)]
      : [];
  });
}

/** Gives the pids of the programs that listen, once all have said that they may be saved. Throws AgentError when one has not. */
export async function askAll(
  initPid: number,
  number: number,
  withinMs: number,
  signal: AbortSignal,
): Promise<number[]> {
  const told = tell(initPid, 'before', number);
  const waiting = new Set(told);
  for (let waitedMs = 0; waiting.size > 0; waitedMs += lookEveryMs) {
    for (const pid of waiting) {
      const [word, of, error] = answerOf(initPid, pid);
      if (of !== number) continue;
      if (word === 'refused')
        throw refusal(
          `process ${String(pid)} refuses to be saved now (error ${String(error)}): ask again later`,
        );
      waiting.delete(pid);
    }
    if (waiting.size === 0) break;
    if (waitedMs > withinMs)
      throw refusal(
        `processes ${[...waiting].join(', ')} have not come out of their callbacks within ${String(Math.round(withinMs / 1000))} s`,
      );
    await after(lookEveryMs, undefined, { signal });
  }
  return told;
}

function refusal(message: string): AgentError {
  return new AgentError('refused', 'PreflightFailed', 'MUSTER_CALLBACK', message);
}

function answerOf(initPid: number, pid: number): [word: string, number: number, error: number] {
  const path = `${directoryOf(initPid)}/muster-checkpoint.${String(pid)}.answer`;
  const [word = '', number = '', error = ''] = read(path).split(' ');
  return [word, Number(number), Number(error)];
}

/** False when nobody listens: whoever did has ended. */
function write(path: string, text: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch {
    return false;
  }
  try {
    return fstatSync(fd).isFIFO() && writeSync(fd, text) === text.length;
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return false; // full: whoever reads it does not
    throw error;
  } finally {
    closeSync(fd);
  }
}

function read(path: string): string {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      return fstatSync(fd).isFile() ? readFileSync(fd, 'utf8').slice(0, 4096) : '';
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Sends it to the ranks themselves, not to what they have started. */
export function signalRanks(
  native: Native,
  slots: readonly RankSlot[],
  pids: readonly number[],
  number: number,
): void {
  const ranks = new Set(slots.filter(({ running }) => running).map(({ pid }) => pid));
  for (const pid of pids) {
    const inner = innermostPidOf(read(`/proc/${String(pid)}/status`));
    if (inner === null || !ranks.has(inner)) continue;
    try {
      const pidfd = native.pidfdOpen(pid);
      try {
        native.pidfdSignal(pidfd, number);
      } finally {
        native.close(pidfd);
      }
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH') throw error; // it has ended
    }
  }
}
