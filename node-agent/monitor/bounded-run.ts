// A program of the administrator's, run so that it can do no harm to the agent: it has a time limit, what it prints is read up to
// a bound, and all of it is killed when it goes beyond either. One that cannot even be killed (it waits for a dead disk) is told
// of, and `ended` settles only when it is really gone, so that nobody starts a second one meanwhile.
import { spawn } from 'node:child_process';
import { errnoOf } from '../agent-error.ts';

export interface RunOptions {
  readonly file: string;
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** More than this and it is killed; what stands before is kept. */
  readonly outputBytes: number;
}

export type Outcome =
  | { readonly kind: 'exited'; readonly code: number; readonly output: string }
  | { readonly kind: 'signaled'; readonly signal: string; readonly output: string }
  | { readonly kind: 'timed-out'; readonly output: string }
  | { readonly kind: 'too-much-output'; readonly output: string }
  | { readonly kind: 'not-started'; readonly code: string; readonly output: '' };

export interface BoundedRun {
  /** Settles at the latest shortly after the time limit. */
  readonly outcome: Promise<Outcome>;
  /** Settles when nothing of it is left that we started. */
  readonly ended: Promise<void>;
  kill(): void;
}

export function boundedRun({ file, args = [], env, timeoutMs, outputBytes }: RunOptions): BoundedRun {
  const outcome = Promise.withResolvers<Outcome>();
  const ended = Promise.withResolvers<void>();
  const kept: Buffer[] = [];
  let bytes = 0;
  const output = () => Buffer.concat(kept).subarray(0, outputBytes).toString('utf8');
  const child = spawn(file, args, { env, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const kill = () => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH') throw error;
    }
  };
  const giveUp = (kind: 'timed-out' | 'too-much-output') => {
    outcome.resolve({ kind, output: output() });
    kill();
    // Whoever holds the other end must not keep ours.
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const timer = setTimeout(() => {
    giveUp('timed-out');
  }, timeoutMs);
  const take = (chunk: Buffer) => {
    if (bytes < outputBytes) kept.push(chunk);
    bytes += chunk.length;
    if (bytes > outputBytes) giveUp('too-much-output');
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  child.once('error', (error) => {
    clearTimeout(timer);
    outcome.resolve({ kind: 'not-started', code: errnoOf(error) ?? 'EIO', output: '' });
    ended.resolve();
  });
  child.once('exit', (code, signal) => {
    clearTimeout(timer);
    kill(); // what it left in the background
    const settle = () => {
      outcome.resolve(
        signal === null
          ? { kind: 'exited', code: code ?? 0, output: output() }
          : { kind: 'signaled', signal, output: output() },
      );
      child.stdout.destroy();
      child.stderr.destroy();
      ended.resolve();
    };
    // What it printed last is in the pipe still; one who has gone into another session may hold that open for ever.
    const late = setTimeout(settle, 200);
    child.once('close', () => {
      clearTimeout(late);
      settle();
    });
  });
  return { outcome: outcome.promise, ended: ended.promise, kill };
}
