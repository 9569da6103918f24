/**
 * Several real hosts on one machine: each has network, host name, mounts, ipc and processes of its own, and an address on a
 * bridge that stands in a network namespace apart. Nothing is named or pinned anywhere: a host is its first process, which
 * ends with the standard input that this process holds, and the kernel ends the rest of it. So a test killed at any moment
 * leaves empty cgroups and an empty directory at most; the next one sweeps those. It knows nothing of Muster but where its
 * agents' cgroups are.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startTimeOf } from '../../node-agent/process-table.ts';
import { childrenOf, eventually, execute, type Executed } from './processes.ts';

const places = '/var/tmp';
const prefix = 'muster-hosts-';

export interface HostOptions {
  /** Directories that are file systems of their own on this host. */
  readonly separate?: readonly string[];
}

/** A namespace holder: everything in it ends when its standard input does. */
interface Holder {
  readonly process: ChildProcess;
  /** Of its first process, as this machine sees it. */
  readonly pid: number;
}

export class Host {
  readonly name: string;
  readonly address: string;
  /** Its own file system, at the same path on every host. */
  readonly base: string;
  readonly pid: number;
  readonly #bridge: number;
  /** Pids, on this machine, of commands that were started and have not ended. */
  readonly running = new Set<number>();

  constructor(name: string, address: string, base: string, pid: number, bridge: number) {
    this.name = name;
    this.address = address;
    this.base = base;
    this.pid = pid;
    this.#bridge = bridge;
  }

  get home(): string {
    return join(this.base, 'home');
  }

  /** What runs a command on this host: put it before its argv. */
  get enter(): string[] {
    return ['nsenter', `--target=${this.pid}`, '--mount', '--uts', '--ipc', '--net', '--pid', '--'];
  }

  environment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
    return { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: '/root', MUSTER_HOME: this.home, ...more };
  }

  /** Runs a command to its end. */
  run(
    argv: readonly string[],
    options: { input?: Uint8Array; env?: Record<string, string> } = {},
  ): Promise<Executed> {
    return execute([...this.enter, ...argv], { ...options, cwd: '/', env: this.environment(options.env) });
  }

  /** Runs a command that must succeed; its standard output. */
  async sh(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(['sh', '-ec', script]);
    if (code !== 0) throw new Error(`${this.name}: ${script}: status ${code}: ${stderr}`);
    return stdout.toString();
  }

  /** Starts a command; `pid` is its own on this machine, which signals reach. */
  async start(
    argv: readonly string[],
    env: Record<string, string> = {},
  ): Promise<{ child: ChildProcess; pid: number }> {
    const child = spawn(this.enter[0]!, [...this.enter.slice(1), ...argv], {
      stdio: ['pipe', 'pipe', 'pipe'],
      cwd: '/',
      env: this.environment(env),
    });
    const pid = await eventually(() => childrenOf(child.pid!)[0], `${argv[0]} on ${this.name}`);
    this.running.add(pid);
    child.once('exit', () => this.running.delete(pid));
    return { child, pid };
  }

  /** Processes of this host except its first, as it sees them itself. */
  async processes(): Promise<string[]> {
    const text = await this.sh('ps -e -o pid=,comm=');
    return text.split('\n').flatMap((line) => {
      const [pid, name = ''] = line.trim().split(/\s+/);
      return !pid || pid === '1' || name === 'ps' || name === 'sh' ? [] : [`${pid} ${name}`];
    });
  }

  /** Plugs or unplugs this host's cable. */
  async link(up: boolean): Promise<void> {
    await inNetwork(this.#bridge, `ip link set port-${this.name} ${up ? 'up' : 'down'}`);
  }

  /** How much a packet may carry on this host's cable. */
  async setMtu(bytes: number): Promise<void> {
    await inNetwork(this.#bridge, `ip link set port-${this.name} mtu ${bytes}`);
    await this.sh(`ip link set eth0 mtu ${bytes}`);
  }
}

export class Hosts implements AsyncDisposable {
  readonly all: readonly Host[];
  readonly base: string;
  readonly #holders: readonly Holder[];

  private constructor(base: string, holders: readonly Holder[], all: readonly Host[]) {
    this.base = base;
    this.#holders = holders;
    this.all = all;
  }

  /** One host an entry: node1, node2, ... at 10.77.0.1, 10.77.0.2, ... */
  static async make(options: readonly HostOptions[]): Promise<Hosts> {
    sweep();
    const base = join(places, `${prefix}${randomBytes(4).toString('hex')}`);
    mkdirSync(base, { mode: 0o755 });
    writeFileSync(join(base, 'owner'), `${process.pid} ${startTimeOf(process.pid)}`);
    const holders: Holder[] = [];
    try {
      const bridge = await hold(['--net']);
      holders.push(bridge);
      await inNetwork(bridge.pid, 'ip link add bridge type bridge forward_delay 0; ip link set bridge up');
      const hosts: Host[] = [];
      for (const [index, { separate = [] }] of options.entries()) {
        const name = `node${index + 1}`;
        const holder = await hold([
          '--net',
          '--uts',
          '--ipc',
          '--mount',
          '--pid',
          '--fork',
          '--mount-proc',
          '--propagation=private',
        ]);
        holders.push(holder);
        const host = new Host(name, `10.77.0.${index + 1}`, base, holder.pid, bridge.pid);
        await inNetwork(
          bridge.pid,
          `ip link add port-${name} type veth peer name eth0 netns ${holder.pid}; ip link set port-${name} master bridge up`,
        );
        await host.sh(`
          hostname ${name}
          ip link set lo up; ip address add ${host.address}/24 dev eth0; ip link set eth0 up
          mount -t tmpfs -o mode=755 ${name} ${base}
          ${separate.map((path) => `mount -t tmpfs -o mode=${path === '/tmp' ? '1777' : '755'} ${name} ${path}`).join('\n')}`);
        hosts.push(host);
      }
      return new Hosts(base, holders, hosts);
    } catch (error) {
      await Promise.all(holders.map(release));
      remove(base, options.length);
      throw error;
    }
  }

  /** Paths of cgroups that agents of these hosts have made and that still stand. */
  cgroups(): string[] {
    return cgroupsOf(this.base, this.all.length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#holders.map(release));
    await eventually(() => remove(this.base, this.all.length), `the end of ${this.base}`);
  }
}

/** Bash, because it collects the orphans that become its children. */
async function hold(namespaces: readonly string[]): Promise<Holder> {
  const script = 'echo; read -r';
  const holder = spawn('unshare', [...namespaces, 'bash', '-c', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: '/',
  });
  await new Promise<void>((resolve, reject) => {
    holder.stdout.once('data', () => resolve());
    holder.once('error', reject);
    holder.once('exit', (code) =>
      reject(new Error(`unshare ${namespaces.join(' ')}: status ${code}; these tests need root`)),
    );
  });
  holder.stdin.on('error', () => undefined); // gone already
  return { process: holder, pid: namespaces.includes('--fork') ? childrenOf(holder.pid!)[0]! : holder.pid! };
}

async function release({ process: holder }: Holder): Promise<void> {
  if (holder.exitCode !== null || holder.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => holder.once('exit', () => resolve()));
  holder.stdin?.end();
  await ended;
}

async function inNetwork(pid: number, script: string): Promise<void> {
  const { code, stderr } = await execute(['nsenter', `--target=${pid}`, '--net', '--', 'sh', '-ec', script]);
  if (code !== 0) throw new Error(`${script}: ${stderr}`);
}

/** What test processes that were killed have left. */
function sweep(): void {
  for (const name of readdirSync(places)) {
    if (!name.startsWith(prefix)) continue;
    const base = join(places, name);
    const [pid, startTime] = (
      existsSync(join(base, 'owner')) ? readFileSync(join(base, 'owner'), 'utf8') : ''
    )
      .split(' ')
      .map(Number);
    if (pid && startTimeOf(pid) === startTime) continue;
    remove(base, 64);
  }
}

function remove(base: string, hosts: number): boolean {
  // Deepest first: a parent is longer in the list than in depth.
  const gone = cgroupsOf(base, hosts).reverse().every(removeCgroup);
  if (gone) rmSync(base, { recursive: true, force: true });
  return gone;
}

/** The cgroups of agents whose state directory lies in `base`, parents before children. */
function cgroupsOf(base: string, hosts: number): string[] {
  const root = '/sys/fs/cgroup';
  const names = Array.from({ length: hosts }, (_, index) => {
    const node = `node${index + 1}`;
    const hash = createHash('sha256')
      .update(join(base, 'home', 'nodes', node, 'state'))
      .digest('hex')
      .slice(0, 8);
    return `${hash}-${node}`;
  });
  const found: string[] = [];
  for (const hierarchy of [root, ...readdirSync(root).map((name) => join(root, name))]) {
    for (const name of names) {
      const top = join(hierarchy, 'muster.slice', name);
      if (!existsSync(top)) continue;
      const below = readdirSync(top, { withFileTypes: true }).filter((entry) => entry.isDirectory());
      found.push(top, ...below.map((entry) => join(top, entry.name)));
    }
  }
  return found;
}

function removeCgroup(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    return !existsSync(path);
  }
}
