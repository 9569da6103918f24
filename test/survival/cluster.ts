/**
 * A cluster of a home of its own for tests that kill its daemons: the real command, each daemon a child of the test that is
 * started again at once, as a service manager would. It also sees what is left in the kernel: processes and cgroups.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
export const muster = join(checkout, 'bin/muster');
export const programs = join(checkout, 'build/programs');

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
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export class Daemon {
  readonly name: string;
  readonly #command: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #log: string;
  /** What it has written to its log once it works. */
  readonly #signs: readonly string[];
  #logFrom = 0;
  #child: ChildProcess | undefined;
  #ended = Promise.resolve();
  /** Ended by itself, which no daemon may. */
  surprise: string | undefined;

  constructor(
    name: string,
    command: readonly string[],
    env: NodeJS.ProcessEnv,
    log: string,
    signs: readonly string[],
  ) {
    this.name = name;
    this.#signs = signs;
    this.#command = command;
    this.#env = env;
    this.#log = log;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  start(command: readonly string[] = this.#command): void {
    const log = openSync(this.#log, 'a');
    this.#logFrom = fstatSync(log).size;
    const child = spawn(command[0]!, command.slice(1), {
      env: this.#env,
      stdio: ['ignore', log, log],
      cwd: '/',
    });
    closeSync(log);
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        if (this.#child === child && signal !== 'SIGKILL')
          this.surprise = `${this.name} ended: ${signal ?? code}`;
        resolve();
      });
    });
  }

  async stop(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#child = undefined;
    child.kill(signal);
    await this.#ended;
  }

  /** Whether it works by now, as its log tells. */
  get isUp(): boolean {
    if (this.#child === undefined) return false;
    const fd = openSync(this.#log, 'r');
    try {
      const bytes = Buffer.alloc(fstatSync(fd).size - this.#logFrom);
      readSync(fd, bytes, 0, bytes.length, this.#logFrom);
      return this.#signs.every((sign) => bytes.includes(sign));
    } finally {
      closeSync(fd);
    }
  }

  /** Killed and started again, without a moment between. */
  async restart(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    await this.stop(signal);
    this.start();
  }
}

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Group {
  readonly status?: Record<string, unknown> & { conditions?: { type: string; status: string }[] };
}

export class Cluster implements AsyncDisposable {
  readonly home: string;
  /** A directory that ranks see at the same path and may write to. */
  readonly shared: string;
  readonly nodes: readonly string[];
  readonly controller: Daemon;
  readonly agents: readonly Daemon[];
  readonly env: NodeJS.ProcessEnv;
  /** How many ask for a moment without kills. */
  #quiet = 0;

  private constructor(agents: number) {
    this.home = mkdtempSync(join(tmpdir(), 'muster-survival-'));
    chmodSync(this.home, 0o711);
    this.shared = join(this.home, 'shared');
    mkdirSync(this.shared);
    chmodSync(this.shared, 0o777);
    mkdirSync(join(this.home, 'logs'), { mode: 0o700 });
    this.nodes = Array.from({ length: agents }, (_, index) => `node${index + 1}`);
    this.env = { ...process.env, MUSTER_HOME: this.home };
    const daemon = (name: string, args: readonly string[], signs: readonly string[]): Daemon =>
      new Daemon(name, [muster, ...args], this.env, join(this.home, 'logs', `${name}.log`), signs);
    this.controller = daemon(
      'controller',
      ['controller'],
      [
        'control plane ready',
        ...this.nodes.map((node) => `"node":"${node}","instance"`), // its agents have come
      ],
    );
    this.agents = this.nodes.map((node) =>
      daemon(node, ['agent', '--node', node, '--bind', this.shared], ['hub reached']),
    );
  }

  /** A home and nothing that runs in it. */
  static bare(agents: number): Cluster {
    return new Cluster(agents);
  }

  static async up(agents = 2): Promise<Cluster> {
    const cluster = new Cluster(agents);
    try {
      for (const source of ['paced', 'pmirounds']) {
        const file = fileURLToPath(new URL(`programs/${source}.c`, import.meta.url));
        execFileSync('cc', ['-O1', '-o', join(cluster.shared, source), file]);
      }
      for (const daemon of cluster.daemons) daemon.start();
      await cluster.ready();
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  get daemons(): readonly Daemon[] {
    return [this.controller, ...this.agents];
  }

  program(name: string): string {
    return join(this.shared, name);
  }

  /** Every agent is connected and Ready. */
  async ready(): Promise<void> {
    await eventually(async () => {
      const { code, stdout } = await this.run(['get', 'nm', '-o', 'json']);
      if (code !== 0) return false;
      type Monitor = {
        metadata: { name: string };
        status?: { conditions?: { type: string; status: string }[] };
      };
      const { items } = JSON.parse(stdout) as { items: Monitor[] };
      return this.nodes.every((node) =>
        items.some(
          ({ metadata, status }) =>
            metadata.name === node &&
            status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True'),
        ),
      );
    }, 'control plane and agents are ready');
  }

  get isQuiet(): boolean {
    return this.#quiet > 0;
  }

  /**
   * Nothing is killed while the group is handed in: a control plane that dies before it has said yes to `muster run` leaves its
   * caller with an error, as it should. Kills go on once it has its nodes: a
   * client also tells his caller that a job waits for one.
   */
  async submit<T>(name: string, run: () => T): Promise<T> {
    return this.calm(async () => {
      const running = run();
      await eventually(async () => {
        const { code, stdout } = await this.run(['get', 'pg', name, '-o', 'json']);
        const { status } = code === 0 ? (JSON.parse(stdout) as Group) : {};
        // A short job may have ended by now, and given its nodes back.
        return status?.conditions?.some(
          ({ type, status: value }) => ['Placed', 'Succeeded', 'Failed'].includes(type) && value === 'True',
        );
      }, `group ${name} has its nodes`);
      return running;
    });
  }

  /** Nothing is killed meanwhile, and all is up before: commands that find no control plane at all give up at once. */
  async calm<T>(act: () => Promise<T>): Promise<T> {
    this.#quiet++;
    try {
      await eventually(() => this.daemons.every((daemon) => daemon.isUp), 'all daemons are up');
      await this.ready();
      return await act();
    } finally {
      this.#quiet--;
    }
  }

  /** Starts `muster ...`; the caller reads its output. */
  spawn(args: readonly string[]): ChildProcess & {
    stdin: NodeJS.WritableStream;
    stdout: NodeJS.ReadableStream;
    stderr: NodeJS.ReadableStream;
  } {
    return spawn(muster, args, { env: this.env, stdio: ['pipe', 'pipe', 'pipe'] });
  }

  async run(args: readonly string[]): Promise<Finished> {
    const running = promisify(execFile)(muster, args, {
      env: this.env,
      maxBuffer: 64 << 20,
      timeout: 120_000,
    });
    running.child.stdin?.end();
    try {
      return { code: 0, ...(await running) };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: unknown; stdout: string; stderr: string };
      if (typeof code !== 'number') throw error;
      return { code, stdout, stderr };
    }
  }

  async group(name: string): Promise<Group> {
    return eventually(async () => {
      const { code, stdout } = await this.run(['get', 'pg', name, '-o', 'json']);
      return code === 0 ? (JSON.parse(stdout) as Group) : undefined;
    }, `group ${name} can be read`);
  }

  /** Prefixes of cgroup names that belong to agents of this home. */
  get #cgroups(): string[] {
    return this.nodes.map((node) => {
      const state = join(this.home, 'nodes', node, 'state');
      return `muster.slice/${createHash('sha256').update(state).digest('hex').slice(0, 8)}-${node}`;
    });
  }

  /** Processes in sandboxes of this home: pid and name. */
  processes(): { pid: number; name: string }[] {
    const prefixes = this.#cgroups;
    return readdirSync('/proc').flatMap((entry) => {
      if (!/^\d+$/.test(entry)) return [];
      try {
        const cgroups = readFileSync(`/proc/${entry}/cgroup`, 'utf8');
        if (!prefixes.some((prefix) => cgroups.includes(`/${prefix}/`))) return [];
        const status = readFileSync(`/proc/${entry}/status`, 'utf8');
        if (/^State:\tZ/m.test(status)) return [];
        return [{ pid: Number(entry), name: /^Name:\t(.*)$/m.exec(status)![1]! }];
      } catch {
        return [];
      }
    });
  }

  /** Cgroups of sandboxes of this home, in any hierarchy. */
  sandboxCgroups(): string[] {
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const hierarchies = mounts.filter((line) => / - cgroup2? /.test(line)).map((line) => line.split(' ')[4]!);
    return hierarchies.flatMap((mount) =>
      this.#cgroups.flatMap((prefix) => {
        const path = join(mount, prefix);
        if (!existsSync(path)) return [];
        return readdirSync(path, { withFileTypes: true })
          .filter((entry) => entry.isDirectory())
          .map((entry) => join(path, entry.name));
      }),
    );
  }

  /** Once all jobs have ended, nothing of them is left in the kernel. */
  async clean(): Promise<void> {
    await eventually(
      () => this.processes().length === 0 && this.sandboxCgroups().length === 0,
      'no process and no cgroup of an ended job is left',
    ).catch((error: unknown) => {
      const left = JSON.stringify([this.processes(), this.sandboxCgroups()]);
      throw new Error(`left behind: ${left}`, { cause: error });
    });
  }

  logTail(bytes = 3000): string {
    return readdirSync(join(this.home, 'logs'))
      .map((name) => `--- ${name}\n${readFileSync(join(this.home, 'logs', name), 'utf8').slice(-bytes)}`)
      .join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.agents) await daemon.stop('SIGTERM');
    await this.controller.stop('SIGTERM');
    await this.run(['down']);
    const left = this.processes();
    if (process.env['MUSTER_KEEP'] === undefined) rmSync(this.home, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`muster down left ${JSON.stringify(left)}`);
  }
}
