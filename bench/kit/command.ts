/**
 * Runs a command to its end and times it, or takes what it prints. A command that fails, or prints what it should not, ends
 * the benchmark: a figure of something that did not work is worse than none.
 */
import { spawn } from 'node:child_process';

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Ran {
  readonly wallMs: number;
  readonly stdout: string;
}

const deadlineMs = 120_000;

export async function run(command: Command): Promise<Ran> {
  const begin = performance.now();
  const child = spawn(command.file, command.args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...command.env },
    timeout: deadlineMs,
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => out.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => err.push(bytes));
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  child.on('error', reject);
  child.on('close', (code, signal) => resolve(signal ?? String(code)));
  const how = await promise;
  const wallMs = performance.now() - begin;
  if (how !== '0') {
    const text = Buffer.concat(err).toString('utf8').slice(0, 2000);
    throw new Error(
      `${[command.file, ...command.args].join(' ')} ended with ${how} after ${Math.round(wallMs)} ms: ${text}`,
    );
  }
  return { wallMs, stdout: Buffer.concat(out).toString('utf8') };
}

/** Wall time; the output must have so many lines. */
export async function timed(command: Command, lines: number): Promise<number> {
  const { wallMs, stdout } = await run(command);
  const found = stdout.split('\n').length - 1;
  if (found !== lines)
    throw new Error(`${command.file} ${command.args.join(' ')}: ${found} lines of output, expected ${lines}`);
  return wallMs;
}

/** The command between real pipes, as a shell makes them: Node's own are sockets. */
export function shell(command: Command, after: string, before = ''): Command {
  const words = [command.file, ...command.args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  return {
    ...command,
    file: '/bin/bash',
    args: ['-o', 'pipefail', '-c', `${before} ${words.join(' ')} ${after}`],
  };
}
