/**
 * Commands run to their end with their output as bytes, and waiting that asks instead of sleeping. Nothing here knows hosts.
 */
import { spawn } from 'node:child_process';

export interface Executed {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export async function execute(
  argv: readonly string[],
  options: { input?: Uint8Array; env?: Record<string, string>; cwd?: string } = {},
): Promise<Executed> {
  const { input, ...rest } = options;
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    ...rest,
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout!.on('data', (part: Buffer) => stdout.push(part));
  child.stderr!.on('data', (part: Buffer) => stderr.push(part));
  child.stdin?.on('error', () => undefined); // a command may end before it has read all
  child.stdin?.end(input);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve({ code, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() }),
    );
  });
}

/** Asks again and again, giving way in between, until the answer is there. */
export async function eventually<T>(
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  what: string,
  withinMs = 20_000,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
