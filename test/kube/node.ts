/**
 * A node of a Kubernetes cluster for tests: Debian's containerd and runc, the kubelet of scripts/kubelet.sh, a network of Pods on a
 * bridge, images made here. All of it lies in one directory and goes with it; what the kubelet changes of the machine is put back.
 * Pods get there by the scheduler of the same source. It has processes and mounts of its own. A second node beside it is to go first.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../contract/eventually.ts';
import { freePorts, type KubeCluster } from './cluster.ts';
import { writeImage, type ImageContents } from './images.ts';
import { KubeScheduler } from './scheduler.ts';

/** Where nodes of one machine must differ. */
interface Place {
  readonly bridge: string;
  readonly subnet: string;
  /** Below which the kubelet has its Pods: it ends whatever else it finds there. */
  readonly cgroupRoot: string;
}
const places = {
  first: { bridge: 'mustertest0', subnet: '10.199.0.0/24', cgroupRoot: '/' },
  second: { bridge: 'mustertest1', subnet: '10.199.1.0/24', cgroupRoot: '/kubelet' },
} as const satisfies Record<string, Place>;
const changedSysctls = [
  'vm/overcommit_memory',
  'kernel/panic',
  'kernel/panic_on_oops',
  'net/ipv4/ip_forward',
];
const leftDirectories = ['/var/lib/kubelet', '/var/log/pods', '/var/log/containers'];

/** Why no node can be had on this machine; undefined when one can. */
export function nodeTrouble(): string | undefined {
  if (process.getuid?.() !== 0) return 'a kubelet needs root';
  for (const program of ['containerd', 'ctr', 'runc'])
    if (!['/usr/bin', '/usr/sbin'].some((directory) => existsSync(join(directory, program))))
      return `${program} is not installed: scripts/setup.sh test`;
  if (!existsSync('/usr/lib/cni/bridge'))
    return 'containernetworking-plugins is not installed: scripts/setup.sh test';
  try {
    programs();
  } catch (error) {
    return `the kubelet could not be built: ${(error as Error).message}`;
  }
  return undefined;
}

let found: string | undefined;
/** The folder of kubelet and scheduler. */
function programs(): string {
  found ??= join(
    execFileSync('scripts/kubelet.sh', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim(),
    'bin',
  );
  return found;
}

export class KubeNode implements AsyncDisposable {
  readonly name: string;
  readonly directory: string;
  readonly #cluster: KubeCluster;
  readonly #place: Place;
  readonly #sysctls = new Map(
    changedSysctls.map((name) => [name, readFileSync(`/proc/sys/${name}`, 'utf8')]),
  );
  readonly #existed = new Set(leftDirectories.filter((path) => existsSync(path)));
  #machine: ChildProcess | undefined;
  #containerd: ChildProcess | undefined;
  #kubelet: ChildProcess | undefined;
  #scheduler: KubeScheduler | undefined;

  private constructor(cluster: KubeCluster, name: string, place: Place) {
    this.#place = place;
    this.name = name;
    this.#cluster = cluster;
    this.directory = mkdtempSync('/var/tmp/muster-node-');
  }

  static async start(
    cluster: KubeCluster,
    name: string,
    images: Readonly<Record<string, ImageContents>>,
  ): Promise<KubeNode> {
    const node = new KubeNode(cluster, name, places.first);
    return node.#started(() =>
      Object.entries(images).map(([image, contents], number) => {
        const archive = join(node.directory, `images/${number}.tar`);
        writeImage(archive, image, contents);
        return archive;
      }),
    );
  }

  /** Another one of the same machine, with the same images. */
  async beside(name: string): Promise<KubeNode> {
    const { directory } = this;
    const archives = readdirSync(join(directory, 'images')).map((file) => join(directory, 'images', file));
    return new KubeNode(this.#cluster, name, places.second).#started(() => archives);
  }

  async #started(archives: () => readonly string[]): Promise<this> {
    try {
      await this.#start(archives);
    } catch (error) {
      const logs = this.logs();
      await this[Symbol.asyncDispose]();
      throw new Error(`the node did not start: ${(error as Error).message}\n${logs}`, { cause: error });
    }
    return this;
  }

  async #start(archives: () => readonly string[]): Promise<void> {
    const { directory } = this;
    for (const name of ['cni', 'containerd', 'kubelet', 'images', 'plugins', 'pki', 'seccomp'])
      mkdirSync(join(directory, name), { recursive: true });
    writeFileSync(join(directory, 'cni/10-test.conflist'), networkConfig(directory, this.#place));
    writeFileSync(join(directory, 'containerd.toml'), containerdConfig(directory));
    this.#machine = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...ownMachine], { stdio: 'ignore' });
    await eventually(() => {
      if (this.#firstPid === undefined) throw new Error('the node has no first process');
    });
    this.#containerd = this.#spawn('containerd', 'containerd', [
      '--config',
      join(directory, 'containerd.toml'),
    ]);
    await eventually(async () => void (await this.ctr('version')), 30_000);
    for (const archive of archives()) await this.ctr('images', 'import', archive);
    const [port] = await freePorts(1);
    writeFileSync(join(directory, 'kubelet.yaml'), kubeletConfig(directory, port!, this.#place));
    if (this.#place.cgroupRoot !== '/')
      for (const mount of hierarchies()) makeCgroup(mount, this.#place.cgroupRoot);
    this.#kubelet = this.#spawn('kubelet', join(programs(), 'kubelet'), [
      ...['--config', join(directory, 'kubelet.yaml'), '--kubeconfig', this.#cluster.kubeconfig],
      ...['--hostname-override', this.name, '--root-dir', join(directory, 'kubelet')],
      ...['--container-runtime', 'remote', '--container-runtime-endpoint', `unix://${this.#socket}`],
      ...['--runtime-cgroups', '/', '--kubelet-cgroups', '/', '--cert-dir', join(directory, 'pki')],
      ...['--seccomp-profile-root', join(directory, 'seccomp')],
      ...['--kube-api-content-type', 'application/json', '--node-ip', '127.0.0.1', '-v', '2'],
    ]);
    await eventually(async () => {
      const ready = await this.#cluster.kubectl(
        ...['get', 'node', this.name, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'],
      );
      if (ready !== 'True') throw new Error(`the node is not ready: ${ready}`);
    }, 60_000);
    if (this.#place === places.first) this.#scheduler = new KubeScheduler(this.#cluster, programs());
  }

  get #socket(): string {
    return join(this.directory, 'containerd.sock');
  }

  async ctr(...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('ctr', [
      '--address',
      this.#socket,
      '--namespace',
      'k8s.io',
      ...args,
    ]);
    return stdout;
  }

  /** The first process of the node. */
  get #firstPid(): string | undefined {
    const pid = String(this.#machine?.pid);
    return read(`/proc/${pid}/task/${pid}/children`).trim() || undefined;
  }

  get #inside(): string[] {
    return ['--target', this.#firstPid!, '--pid', '--mount', '--'];
  }

  /** Runs a program on the node. */
  run(program: string, ...args: readonly string[]): void {
    execFileSync('nsenter', [...this.#inside, program, ...args]);
  }

  /** Cgroups of Pods that are left, in any hierarchy. */
  cgroups(): string[] {
    return this.#podCgroups().flatMap((directory) => podsBelow(directory));
  }

  #podCgroups(): string[] {
    return hierarchies().map((mount) => join(mount, this.#place.cgroupRoot, 'kubepods'));
  }

  /** As if it lost its power: everything of it ends at once, and nobody is told. */
  async lose(): Promise<void> {
    const ended = [this.#kubelet, this.#containerd].map(async (child) => {
      child?.kill('SIGKILL');
      if (child?.exitCode === null && child.signalCode === null) await once(child, 'exit');
    });
    await Promise.all(ended);
    for (const pid of processesNaming(this.#socket)) process.kill(pid, 'SIGKILL');
    for (const directory of this.cgroups()) for (const pid of processesBelow(directory)) kill(pid);
  }

  logs(): string {
    const scheduler = this.#scheduler === undefined ? '' : `\n--- scheduler\n${this.#scheduler.logs()}`;
    return ['containerd', 'kubelet']
      .map(
        (name) =>
          `--- ${name}\n${read(join(this.directory, `${name}.log`))
            .split('\n')
            .slice(-25)
            .join('\n')}`,
      )
      .join('\n')
      .concat(scheduler);
  }

  /** What the containers of a Pod wrote, as the kubelet keeps it. */
  podLog(pod: string): string {
    const below = (directory: string): string =>
      names(directory)
        .map((name) => join(directory, name))
        .map((path) => (path.endsWith('.log') ? read(path) : below(path)))
        .join('\n');
    return names('/var/log/pods')
      .filter((name) => name.includes(`_${pod}_`))
      .map((name) => below(join('/var/log/pods', name)))
      .join('\n');
  }

  #spawn(name: string, program: string, args: readonly string[]): ChildProcess {
    const log = openSync(join(this.directory, `${name}.log`), 'a');
    const dying = ['--pdeathsig', 'KILL'];
    const child = spawn(
      'setpriv',
      [...dying, 'nsenter', ...this.#inside, 'setpriv', ...dying, program, ...args],
      {
        stdio: ['ignore', log, log],
        env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: this.directory },
      },
    );
    closeSync(log);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scheduler?.[Symbol.asyncDispose]();
    await end(this.#kubelet);
    if (this.#containerd) await this.#endTasks();
    await end(this.#containerd);
    await end(this.#machine);
    for (const pid of processesNaming(join(this.directory, 'containerd.sock'))) process.kill(pid, 'SIGKILL');
    for (const mount of mountsBelow(this.directory)) quietly('umount', '--lazy', mount);
    for (const name of namespacesOf(this.directory)) quietly('ip', 'netns', 'delete', name);
    quietly('ip', 'link', 'delete', this.#place.bridge);
    for (const directory of this.#podCgroups()) removeCgroups(directory);
    if (this.#place.cgroupRoot !== '/')
      for (const mount of hierarchies()) removeCgroups(join(mount, this.#place.cgroupRoot));
    for (const [name, value] of this.#sysctls) writeFileSync(`/proc/sys/${name}`, value);
    for (const path of leftDirectories)
      if (!this.#existed.has(path)) rmSync(path, { recursive: true, force: true });
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #endTasks(): Promise<void> {
    const names = async (...args: string[]): Promise<string[]> =>
      (await this.ctr(...args, '--quiet').catch(() => '')).split('\n').filter((name) => name !== '');
    for (const task of await names('tasks', 'list'))
      await this.ctr('tasks', 'delete', '--force', task).catch(() => '');
    for (const container of await names('containers', 'list'))
      await this.ctr('containers', 'delete', container).catch(() => '');
  }
}

/** Processes and mounts of its own, under a first process into which others may look, as on a node; that of this machine may be another's. */
const ownMachine = [
  ...['--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'slave'],
  ...['bash', '-c', 'while :; do sleep 3600 & wait; done'],
];

const containerdConfig = (directory: string): string => `
version = 2
root = "${directory}/containerd/root"
state = "${directory}/containerd/state"
[grpc]
address = "${directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "local/pause:1"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${directory}/cni"
`;

const networkConfig = (directory: string, { bridge, subnet }: Place): string =>
  JSON.stringify({
    cniVersion: '0.4.0',
    name: 'test',
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        ipam: { type: 'host-local', subnet, dataDir: `${directory}/addresses` },
      },
    ],
  });

const kubeletConfig = (directory: string, port: number, { cgroupRoot }: Place): string =>
  JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    address: '127.0.0.1',
    port,
    healthzPort: 0,
    readOnlyPort: 0,
    cgroupDriver: 'cgroupfs',
    cgroupRoot,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    makeIPTablesUtilChains: false,
    evictionHard: { 'memory.available': '1Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    syncFrequency: '1s',
    volumePluginDir: `${directory}/plugins`,
    resolvConf: '/etc/resolv.conf',
  });

async function end(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await ended;
  clearTimeout(timer);
}

function quietly(program: string, ...args: string[]): void {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
  } catch {
    // It was not there.
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The shims of containers, which outlive containerd. */
const processesNaming = (path: string): number[] =>
  names('/proc')
    .filter((name) => /^\d+$/.test(name) && read(`/proc/${name}/cmdline`).includes(path))
    .map(Number);

const hierarchies = (): string[] =>
  read('/proc/self/mountinfo')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(' ')[4]!);

/** Deepest first. */
const mountsBelow = (directory: string): string[] =>
  read('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(directory))
    .reverse();

/** Network namespaces that containerd made for this node's Pods, by the addresses that were given out. */
function namespacesOf(directory: string): string[] {
  if (!existsSync(join(directory, 'addresses'))) return [];
  return names('/run/netns').filter((name) => name.startsWith('cni-'));
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function podsBelow(directory: string): string[] {
  return names(directory).flatMap((name) => {
    if (name === 'besteffort' || name === 'burstable') return podsBelow(`${directory}/${name}`);
    return name.startsWith('pod') ? [`${directory}/${name}`] : [];
  });
}

const processesBelow = (directory: string): number[] => [
  ...read(join(directory, 'cgroup.procs')).split('\n').filter(Boolean).map(Number),
  ...readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => processesBelow(join(directory, name))),
];

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has gone with another one.
  }
}

/** In the hierarchy cpuset of version 1 nothing can be in a new one before it is told of processors. */
function makeCgroup(mount: string, name: string): void {
  mkdirSync(join(mount, name), { recursive: true });
  for (const file of ['cpuset.mems', 'cpuset.cpus'])
    if (read(join(mount, name, file)).trim() === '' && read(join(mount, file)) !== '')
      writeFileSync(join(mount, name, file), read(join(mount, file)));
}

function removeCgroups(directory: string): void {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroups(join(directory, entry.name));
  try {
    rmdirSync(directory);
  } catch {
    // Something lives in it: the test says so.
  }
}
