/**
 * Commands run to their end, or to their deadline, with their output as bytes, and waiting that asks instead of sleeping. Nothing
 * here knows hosts.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Executed {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** A command that does not end in time is killed with all it has started, so that no other test meets it, and told of. */
export async function execute(
  argv: readonly string[],
  options: { input?: Uint8Array; env?: NodeJS.ProcessEnv; cwd?: string; withinMs?: number } = {},
): Promise<Executed> {
  const { input, withinMs = 90_000, ...rest } = options;
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
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    if (child.pid !== undefined) killTree(child.pid);
  }, withinMs);
  const ended = new Promise<Executed>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const said = { stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
      if (!isLate) resolve({ code, signal, ...said });
      else
        reject(
          new Error(
            `${argv.join(' ')}: not ended within ${withinMs} ms; it has said ${said.stderr}${said.stdout.toString().slice(-2000)}`,
          ),
        );
    });
  }).finally(() => clearTimeout(timer));
  // Whoever waits for it hears of it; a test that has failed before waits no more.
  ended.catch(() => undefined);
  return ended;
}

export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}

/** What enters a host's namespaces forks, so the command itself is a child of what was started. */
export function killTree(pid: number): void {
  const children = childrenOf(pid);
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
  children.forEach(killTree);
}

/** Asks again and again, giving way in between, until the answer is there. */
export async function eventually<T>(
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  what: string,
  withinMs = 60_000,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
