/** Prometheus' own judge of rules and of what is told to it: runs promtool, and gives what that finds wrong. */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

let program: string | undefined;

/** What it says in the end; empty where it has no complaint and nothing to tell. */
export async function promtool(args: readonly string[], input = ''): Promise<string> {
  program ??= execFileSync('scripts/promtool.sh', {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const running = promisify(execFile)(program, [...args], { timeout: 60_000 });
  running.child.stdin?.end(input);
  const { stdout, stderr } = await running.catch((error: Error & { stdout?: string; stderr?: string }) => ({
    stdout: error.stdout ?? '',
    stderr: error.stderr || error.message,
  }));
  return `${stdout}${stderr}`.trim();
}
