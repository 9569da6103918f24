/**
 * Muster on a Kubernetes cluster of the tests, as it is on bare metal: replicas of `muster controller --kubeconfig` and agents that
 * joined them, each a process of its own, driven from outside by kubectl. When it is disposed of, nothing runs any more.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { processGroupType } from '../../controllers/resource-types.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { conditionOf, type ConditionType } from '../../crds/conditions.ts';
import { kubeDaemonTargetOf } from '../../store/client/kubeconfig.ts';
import { KubernetesStore } from '../../store/kubernetes/kubernetes-store.ts';
import { eventually } from '../contract/eventually.ts';
import { checkout } from '../e2e/cluster.ts';
import { freePorts, type KubeCluster } from './cluster.ts';

const command = join(checkout, 'bin/muster');
export const controllerNamespace = 'muster-system';

export interface MusterOptions {
  readonly controllers?: number;
  readonly nodes?: readonly string[];
  /** What the controllers use, such as one that leads through a proxy; by default the administrator's. */
  readonly kubeconfig?: string;
  /** Further arguments of the controllers. */
  readonly arguments?: readonly string[];
}

export class MusterOnKube implements AsyncDisposable {
  /** The administrator's own way to the API, past whatever stands in the controllers'. */
  readonly store: KubernetesStore;
  readonly cluster: KubeCluster;
  readonly home: string;
  readonly #kubeconfig: string;
  readonly #arguments: readonly string[];
  readonly #hubPorts: readonly number[];
  readonly #joinPorts: readonly number[];
  readonly #controllers: (ChildProcess | undefined)[] = [];
  readonly #agents = new Map<string, ChildProcess>();

  private constructor(
    cluster: KubeCluster,
    kubeconfig: string,
    ports: readonly number[],
    further: readonly string[],
  ) {
    this.cluster = cluster;
    this.#arguments = further;
    this.#kubeconfig = kubeconfig;
    this.#hubPorts = ports.slice(0, ports.length / 2);
    this.#joinPorts = ports.slice(ports.length / 2);
    this.home = mkdtempSync('/var/tmp/muster-kube-');
    this.store = new KubernetesStore({
      server: kubeDaemonTargetOf(cluster.kubeconfig, undefined).server,
      logger: pino({ level: 'silent' }),
    });
  }

  static async start(cluster: KubeCluster, options: MusterOptions = {}): Promise<MusterOnKube> {
    const { controllers = 1, nodes = [], kubeconfig = cluster.kubeconfig } = options;
    const muster = new MusterOnKube(
      cluster,
      kubeconfig,
      await freePorts(2 * controllers),
      options.arguments ?? [],
    );
    try {
      await cluster.kubectl('create', 'namespace', controllerNamespace).catch(() => undefined);
      for (let i = 0; i < controllers; i++) muster.startController(i);
      await muster.untilLed();
      await Promise.all(nodes.map((node) => muster.startAgent(node)));
    } catch (error) {
      const logs = muster.logs();
      await muster[Symbol.asyncDispose]();
      throw new Error(`Muster did not start: ${(error as Error).message}\n${logs}`, { cause: error });
    }
    return muster;
  }

  startController(index: number): void {
    const own = `127.0.0.1:${this.#hubPorts[index]}`;
    const others = this.#hubPorts.map((port) => `127.0.0.1:${port}`).filter((address) => address !== own);
    this.#controllers[index] = this.#spawn(`controller${index}`, [
      ...['--kubeconfig', this.#kubeconfig, 'controller', '--namespace', controllerNamespace],
      ...['--listen', own, '--join-listen', `127.0.0.1:${this.#joinPorts[index]}`],
      ...['--advertise', [own, ...others].join(',')],
      ...this.#arguments,
    ]);
  }

  /** Where nodes join the first replica. */
  joinAddress(): string {
    return `127.0.0.1:${this.#joinPorts[0]}`;
  }

  async stopController(index: number, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await end(this.#controllers[index], signal);
    this.#controllers[index] = undefined;
  }

  /** Starts the agent of a node; the first time it joins with a token, as an administrator would have it do. */
  async startAgent(node: string): Promise<void> {
    // Agents that join at once meet at the book.
    let line = '';
    await eventually(async () => {
      const made = await promisify(execFile)(command, [
        '--kubeconfig',
        this.cluster.kubeconfig,
        'token',
        'create',
      ]);
      line = made.stdout;
    });
    const given = line.trim().split(' ').slice(2);
    this.#agents.set(
      node,
      this.#spawn(`agent-${node}`, [
        ...['--home', this.home, 'agent', '--node', node, '--address', '127.0.0.1', ...given],
      ]),
    );
    await eventually(async () => {
      const ready = await this.cluster.kubectl(
        ...['get', 'nm', node, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'],
      );
      if (ready !== 'True') throw new Error(`node ${node} is not ready: ${ready}`);
    }, 30_000);
  }

  async stopAgent(node: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await end(this.#agents.get(node), signal);
    this.#agents.delete(node);
  }

  /** Index of the replica that leads. */
  async leader(): Promise<number> {
    const address = await this.cluster.kubectl(
      ...['get', 'lease', 'muster-controller', '-n', controllerNamespace, '-o'],
      'jsonpath={.spec.holderIdentity} {.metadata.annotations.muster\\.dev/hub-address}',
    );
    const [holder, hub = ''] = address.split(' ');
    const index = this.#hubPorts.findIndex((port) => hub.endsWith(`:${port}`));
    if (holder === '' || index < 0) throw new Error(`nobody leads: ${address}`);
    return index;
  }

  async untilLed(): Promise<void> {
    await eventually(() => this.leader().then(() => undefined), 40_000);
  }

  async group(name: string, namespace = 'default'): Promise<ProcessGroup> {
    return this.store.get<ProcessGroup>(processGroupType, { name, namespace });
  }

  /** Waits until a condition of the group is True. */
  async until(name: string, type: ConditionType, timeoutMs = 30_000): Promise<ProcessGroup> {
    let group: ProcessGroup | undefined;
    try {
      await eventually(async () => {
        group = await this.group(name);
        if (conditionOf(group.status?.conditions, type)?.status !== 'True') throw new Error('not yet');
      }, timeoutMs);
    } catch (error) {
      const now = JSON.stringify(group?.status?.conditions, undefined, 1);
      throw new Error(`${name} is not ${type}: ${(error as Error).message}; ${now}\n${this.logs()}`, {
        cause: error,
      });
    }
    return group!;
  }

  /** A subcommand as the administrator's; what it prints. */
  async command(...args: readonly string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(command, ['--kubeconfig', this.cluster.kubeconfig, ...args]);
    return stdout;
  }

  async apply(manifest: string): Promise<void> {
    await this.cluster.kubectlWith({ input: manifest }, 'apply', '-f', '-');
  }

  /** What controllers and agents logged, as one JSON object a line. */
  log(name: string): string {
    try {
      return readFileSync(join(this.home, 'logs', `${name}.test.log`), 'utf8');
    } catch {
      return '';
    }
  }

  logs(): string {
    const names = [
      ...this.#hubPorts.map((_, index) => `controller${index}`),
      ...[...this.#agents.keys()].map((node) => `agent-${node}`),
    ];
    return names.map((name) => `--- ${name}\n${this.log(name).split('\n').slice(-15).join('\n')}`).join('\n');
  }

  controllerPid(index: number): number | undefined {
    return this.#controllers[index]?.pid;
  }

  /** A controller that has ended by itself crashed. */
  crashed(): string[] {
    return this.#controllers.flatMap((child, index) =>
      child !== undefined && (child.exitCode !== null || child.signalCode !== null)
        ? `controller${index} ended with ${child.exitCode ?? child.signalCode}`
        : [],
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#agents.keys()].map((node) => this.stopAgent(node)));
    await Promise.all(this.#controllers.map((_, index) => this.stopController(index)));
    const down = this.#spawn('down', ['--home', this.home, 'down']);
    await once(down, 'exit');
    this.store[Symbol.dispose]();
    rmSync(this.home, { recursive: true, force: true });
  }

  #spawn(name: string, args: readonly string[]): ChildProcess {
    mkdirSync(join(this.home, 'logs'), { recursive: true });
    const log = openSync(join(this.home, 'logs', `${name}.test.log`), 'a');
    const env = {
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
      HOME: '/root',
      MUSTER_HOME: this.home,
    };
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
      stdio: ['ignore', log, log],
      env,
      cwd: '/',
    });
    closeSync(log);
    return child;
  }
}

/** A group of ranks that sleep, or run what is given. */
export function groupOf(
  name: string,
  options: { size?: number; command?: readonly string[]; spec?: object; namespace?: string } = {},
): string {
  const { size = 1, command: words = ['sleep', '600'], spec = {}, namespace = 'default' } = options;
  const processes = [{ name: 'all', ranks: size === 1 ? '0' : `0-${size - 1}`, command: words }];
  return JSON.stringify({
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name, namespace },
    spec: { size, processes, pmi: 'None', ...spec },
  });
}

async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}
