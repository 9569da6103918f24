/**
 * A whole cluster of this machine, driven by the real command: `muster up` in a home of its own, any subcommand, `muster down`.
 * When it is disposed of it looks for what may not be left: processes that carry its mark, cgroups of its agents, mounts of its
 * home. It knows the command line and nothing of what is behind it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { load } from 'js-yaml';

export const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
export const programs = join(checkout, 'build/programs');
export const program = (name: string): string => join(programs, name);
const command = join(checkout, 'bin/muster');

if (!existsSync(command) || !existsSync(program('exitwith'))) {
  throw new Error('the end-to-end tests need "make build" and scripts/programs.sh');
}

/** Variable by which everything that a cluster started is found again, daemons and ranks alike. */
const mark = 'E2E_CLUSTER';

export interface Result {
  readonly code: number;
  /** Of the command itself, when a signal ended it. */
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly bytes: Buffer;
  readonly ms: number;
}

export interface CallOptions {
  readonly stdin?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly timeoutMs?: number;
}

export interface UpOptions {
  readonly agents?: number;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** An existing, empty directory to be the home. */
  readonly home?: string;
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

/** As much of an object as these tests read. */
export interface Shown {
  readonly kind: string;
  readonly metadata: { name: string; uid: string; generation: number; annotations?: Record<string, string> };
  readonly spec: Record<string, unknown>;
  readonly status?: {
    phase?: string;
    restarts?: number;
    conditions?: Condition[];
    ranks?: { running: number; succeeded: number; failed: number };
    exitSummary?: {
      rank?: number;
      code?: number;
      signal?: string;
      node?: string;
      reason?: string;
      message?: string;
    };
    placement?: { ordinal: number; nodes: string; incarnation: number; ranks: string }[];
  };
}

/** A command that runs, and what it has written so far. */
export class Running {
  readonly child: ChildProcess;
  readonly result: Promise<Result>;
  #out: Buffer[] = [];
  #err: Buffer[] = [];

  constructor(child: ChildProcess, what: string, timeoutMs: number) {
    this.child = child;
    const startedAt = performance.now();
    child.stdout?.on('data', (bytes: Buffer) => void this.#out.push(bytes));
    child.stderr?.on('data', (bytes: Buffer) => void this.#err.push(bytes));
    child.stdin?.on('error', () => undefined);
    this.result = new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(
          new Error(
            `${what} did not end within ${timeoutMs} ms\nstdout: ${this.stdout}\nstderr: ${this.stderr}`,
          ),
        );
      }, timeoutMs);
      child.once('error', reject);
      child.once('close', (code, signal) => {
        clearTimeout(timer);
        const ms = performance.now() - startedAt;
        resolve({
          code: code ?? -1,
          signal,
          stdout: this.stdout,
          stderr: this.stderr,
          bytes: Buffer.concat(this.#out),
          ms,
        });
      });
    });
    this.result.catch(() => undefined);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }
  get stdout(): string {
    return Buffer.concat(this.#out).toString('utf8');
  }
  get stderr(): string {
    return Buffer.concat(this.#err).toString('utf8');
  }
  async untilOutput(text: string): Promise<void> {
    await eventually(
      () => this.stdout.includes(text),
      `"${text}" in the output`,
      () => `${this.stdout}\n${this.stderr}`,
    );
  }
}

export class Cluster implements AsyncDisposable {
  readonly home: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #ownsHome: boolean;
  readonly #scratch: string;
  readonly agents: number;
  readonly #started = new Set<Running>();
  #files = 0;

  static async up(options: UpOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(options);
    try {
      await cluster.start(options.args);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  private constructor(options: UpOptions) {
    this.#ownsHome = options.home === undefined;
    // Not below /tmp: sandboxes have one of their own. Short, since sockets lie in it.
    this.home = options.home ?? mkdtempSync('/var/tmp/muster-e2e-');
    this.#scratch = mkdtempSync('/var/tmp/muster-e2e-files-');
    this.agents = options.agents ?? 1;
    this.#env = { ...options.env };
  }

  async start(args: readonly string[] = []): Promise<void> {
    const up = await this.muster(['up', '--detach', '--agents', String(this.agents), ...args], {
      timeoutMs: 60_000,
    });
    if (up.code !== 0) throw new Error(`muster up: ${up.stderr}${up.stdout}`);
  }

  /** The environment in which commands of this cluster run: small, and the same on every machine. */
  environment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
    return {
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
      HOME: '/root',
      MUSTER_HOME: this.home,
      [mark]: this.home,
      ...this.#env,
      ...extra,
    };
  }

  spawn(args: readonly string[], options: CallOptions = {}): Running {
    const child = spawn(command, args, {
      env: this.environment(options.env),
      cwd: options.cwd ?? '/',
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    if (options.stdin !== undefined) child.stdin.end(options.stdin);
    return this.#running(child, `muster ${args.join(' ').slice(0, 200)}`, options.timeoutMs ?? 60_000);
  }

  /** Runs a subcommand to its end; standard input is empty unless given. */
  muster(args: readonly string[], options: CallOptions = {}): Promise<Result> {
    return this.spawn(args, { stdin: '', ...options }).result;
  }

  /** The same, and throws when it fails. */
  async done(args: readonly string[], options: CallOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.muster(args, options);
    if (code !== 0) throw new Error(`muster ${args.join(' ')}: exit code ${code}\n${stderr}\n${stdout}`);
    return stdout;
  }

  run(args: readonly string[], options: CallOptions = {}): Promise<Result> {
    return this.muster(['run', ...args], options);
  }

  /** A shell line with `muster` in its PATH; for pipes, limits and umask. */
  shell(line: string, options: CallOptions = {}): Running {
    const env = this.environment(options.env);
    const child = spawn('/bin/bash', ['-c', line], {
      env: { ...env, PATH: `${join(checkout, 'bin')}:${env['PATH']}` },
      cwd: options.cwd ?? '/',
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    if (options.stdin !== undefined) child.stdin.end(options.stdin);
    return this.#running(child, line.slice(0, 200), options.timeoutMs ?? 60_000);
  }

  /** An interactive shell on a terminal of its own, with job control: what is written to stdin is typed. */
  terminal(timeoutMs = 90_000): Running {
    const env = this.environment({ PS1: '$ ', TERM: 'dumb' });
    const child = spawn('script', ['-qefc', 'bash --norc --noprofile -i', '/dev/null'], {
      env: { ...env, PATH: `${join(checkout, 'bin')}:${env['PATH']}` },
      cwd: '/',
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    return this.#running(child, 'a shell on a terminal', timeoutMs);
  }

  #running(child: ChildProcess, what: string, timeoutMs: number): Running {
    const running = new Running(child, what, timeoutMs);
    this.#started.add(running);
    running.result.then(
      () => this.#started.delete(running),
      () => undefined,
    );
    return running;
  }

  async get(kind: string, name: string): Promise<Shown> {
    return JSON.parse(await this.done(['get', kind, name, '-o', 'json'])) as Shown;
  }

  async condition(name: string, type: string): Promise<Condition | undefined> {
    return (await this.get('pg', name)).status?.conditions?.find((item) => item.type === type);
  }

  /** Applies the text and gives the result back, whatever it is. */
  apply(text: string): Promise<Result> {
    return this.muster(['apply', '-f', this.file('job.yaml', text)]);
  }

  async wait(name: string, condition: string, seconds = 60): Promise<Result> {
    return this.muster(['wait', name, '--for', condition, '--timeout', String(seconds)], {
      timeoutMs: (seconds + 30) * 1000,
    });
  }

  /** A new file that jobs' users may read. */
  file(name: string, text: string | Buffer): string {
    const directory = join(this.#scratch, String(++this.#files));
    mkdirSync(directory, { mode: 0o755 });
    execFileSync('chmod', ['755', this.#scratch]);
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o755 });
    return path;
  }

  /** What `muster get` shows, parsed. */
  async yaml(args: readonly string[]): Promise<unknown> {
    return load(await this.done(args));
  }

  async down(): Promise<void> {
    const down = await this.muster(['down'], { timeoutMs: 60_000 });
    if (down.code !== 0) throw new Error(`muster down: ${down.stderr}${down.stdout}\n${this.logs()}`);
  }

  /** Pids of everything that this cluster started and that still runs. */
  processes(): number[] {
    return processesMarked(`${mark}=${this.home}`);
  }

  /** What is left of it on this machine; empty after `down`. */
  leftOvers(): string[] {
    const left: string[] = [];
    for (const pid of this.processes()) left.push(`process ${pid}: ${commandOf(pid)}`);
    for (const path of this.cgroups()) left.push(`cgroup ${path}`);
    for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
      const at = line.split(' ')[1] ?? '';
      if (at.startsWith(`${this.home}/`)) left.push(`mount ${at}`);
    }
    return left;
  }

  cgroups(): string[] {
    const found: string[] = [];
    const roots = readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' '));
    for (const [, root = '', type = ''] of roots) {
      if (type !== 'cgroup' && type !== 'cgroup2') continue;
      for (let n = 1; n <= this.agents; n++) {
        const state = join(this.home, 'nodes', `node${n}`, 'state');
        const slice = `${createHash('sha256').update(state).digest('hex').slice(0, 8)}-node${n}`;
        const path = join(root, 'muster.slice', slice);
        if (!existsSync(path)) continue;
        found.push(
          path,
          ...readdirSync(path, { withFileTypes: true })
            .filter((entry) => entry.isDirectory())
            .map((entry) => join(path, entry.name)),
        );
      }
    }
    return found;
  }

  logs(): string {
    const directory = join(this.home, 'logs');
    if (!existsSync(directory)) return '';
    return readdirSync(directory)
      .map((name) => `--- ${name}\n${readFileSync(join(directory, name), 'utf8').slice(-4000)}`)
      .join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      // What a failed test left is not what is looked for below.
      for (const { child } of this.#started) child.kill('SIGKILL');
      await this.down();
      const left = this.leftOvers();
      if (left.length > 0) throw new Error(`left after "muster down":\n${left.join('\n')}`);
    } finally {
      for (const pid of this.processes()) killQuietly(pid);
      rmSync(this.#scratch, { recursive: true, force: true });
      if (this.#ownsHome) rmSync(this.home, { recursive: true, force: true });
    }
  }
}

/** Pids of living processes with this `NAME=VALUE` in the environment they were started with. */
export function processesMarked(entry: string): number[] {
  return livingPids().filter(
    (pid) => readQuietly(`/proc/${pid}/environ`).split('\0').includes(entry) && !isZombie(pid),
  );
}

/** Pids of living processes of which one argument is this. */
export function processesWithArgument(word: string): number[] {
  return livingPids().filter(
    (pid) => readQuietly(`/proc/${pid}/cmdline`).split('\0').includes(word) && !isZombie(pid),
  );
}

/** Ticks of processor time that a process has used. */
export function cpuTicksOf(pid: number): number {
  const fields = statFieldsOf(pid);
  return Number(fields[11]) + Number(fields[12]);
}

/** Until it is true; fails with what `seen` tells. */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  what: string,
  seen: () => string = () => '',
  withinMs = 60_000,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}\n${seen()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Does all of it, `width` at a time. */
export async function inParallel<T>(
  items: readonly T[],
  width: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (const item of queue) await act(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

const livingPids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid);
const statFieldsOf = (pid: number): string[] =>
  readQuietly(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, '')
    .split(' ');
const isZombie = (pid: number): boolean => ['Z', 'X', ''].includes(statFieldsOf(pid)[0] ?? '');
const commandOf = (pid: number): string => readQuietly(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
