/**
 * Keeps the daemons of one home running: starts them, starts them again when they die (with a growing pause), stops them in
 * order. It knows processes and nothing of what they do; the ranks of jobs are not its children and outlive it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { failPointsFile, selfCommand } from '../config.ts';
import { type Home, processFileOf } from '../home.ts';
import { livingProcess, removeProcessRecord, writeProcessRecord } from '../process-record.ts';

export interface Daemon {
  /** `controller`, `node1`, ... */
  readonly name: string;
  readonly args: readonly string[];
  /** Options of Node itself. */
  readonly nodeOptions?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

const firstPauseMs = 100;
/** Where tests kill daemons again and again, that is no reason to wait. */
const longestPauseMs = (): number => (failPointsFile() === undefined ? 5_000 : firstPauseMs);
/** A daemon that ran this long has recovered: its next restart is quick again. */
const settledMs = 30_000;
const stopWithinMs = 20_000;

/** Runs one daemon until the signal aborts; resolves when it has ended for good. */
export async function superviseDaemon(
  home: Home,
  daemon: Daemon,
  onRestart: (name: string, how: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const recordFile = processFileOf(home, daemon.name);
  let pauseMs = firstPauseMs;
  while (!signal.aborted) {
    const startedAt = Date.now();
    const child = start(home, daemon);
    try {
      if (child.pid !== undefined) writeProcessRecord(recordFile, child.pid);
    } catch (error) {
      // A full disk: it runs all the same, and is stopped by us.
      process.stderr.write(`${daemon.name}: ${recordFile} cannot be written: ${(error as Error).message}\n`);
    }
    const how = await ended(child, signal);
    removeProcessRecord(recordFile);
    if (signal.aborted) return;
    onRestart(daemon.name, how);
    if (Date.now() - startedAt > settledMs) pauseMs = firstPauseMs;
    await pause(pauseMs, undefined, { signal }).catch(() => undefined);
    pauseMs = Math.min(pauseMs * 2, longestPauseMs());
  }
}

function start(home: Home, daemon: Daemon): ChildProcess {
  const log = openSync(join(home.logs, `${daemon.name}.log`), 'a', 0o600);
  try {
    const self = selfCommand(['--home', home.root, ...daemon.args]);
    return spawn(self.file, [...(daemon.nodeOptions ?? []), ...self.args], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...daemon.environment },
      detached: true,
      cwd: '/',
    });
  } finally {
    closeSync(log);
  }
}

async function ended(child: ChildProcess, signal: AbortSignal): Promise<string> {
  const exit = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`could not start: ${error.message}`));
    child.once('exit', (code, name) => resolve(name === null ? `exit code ${code}` : `signal ${name}`));
  });
  const stop = (): void => {
    child.kill('SIGTERM');
    setTimeout(() => child.kill('SIGKILL'), stopWithinMs).unref();
  };
  if (signal.aborted) stop();
  else signal.addEventListener('abort', stop, { once: true });
  const how = await exit;
  signal.removeEventListener('abort', stop);
  return how;
}

/** Ends a daemon that an earlier supervisor left running. */
export async function stopLeftOver(home: Home, name: string): Promise<boolean> {
  const file = processFileOf(home, name);
  const record = livingProcess(file);
  if (!record) {
    removeProcessRecord(file);
    return false;
  }
  process.kill(record.pid, 'SIGTERM');
  const deadline = Date.now() + stopWithinMs;
  while (livingProcess(file)) {
    if (Date.now() > deadline) process.kill(record.pid, 'SIGKILL');
    await pause(20);
  }
  removeProcessRecord(file);
  return true;
}
