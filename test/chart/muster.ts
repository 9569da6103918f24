/**
 * The Pods of the chart, run as processes of this machine: the arguments that the chart renders, the rights of its service accounts,
 * tokens bound to Pods that are in the API server. In place of what a kubelet and a cluster's DNS would do, addresses are loopback.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkout } from '../e2e/cluster.ts';
import { eventually } from '../contract/object-store.ts';
import { freePorts, type KubeCluster } from '../kube/cluster.ts';
import { find, releaseNamespace, type Rendered } from './helm.ts';

const command = join(checkout, 'bin/muster');

interface Container {
  args: string[];
  env?: { name: string; value?: string }[];
}

interface HookSpec {
  serviceAccountName: string;
  containers: [Container];
}

export const containerOf = (object: Rendered): Container =>
  (object['spec'] as { template: { spec: { containers: [Container] } } }).template.spec.containers[0];

export class MusterPods implements AsyncDisposable {
  readonly cluster: KubeCluster;
  readonly objects: readonly Rendered[];
  readonly home = mkdtempSync('/var/tmp/muster-chart-');
  readonly #ports: Readonly<Record<string, number>>;
  readonly #processes = new Map<string, ChildProcess>();
  readonly #hooksRun = new Set<string>();

  private constructor(cluster: KubeCluster, objects: readonly Rendered[], ports: readonly number[]) {
    this.cluster = cluster;
    this.objects = objects;
    const [hub = 0, joining = 0, metrics = 0, verbs = 0] = ports;
    this.#ports = { 7360: hub, 7361: joining, 7362: metrics, 7363: verbs };
  }

  static async make(cluster: KubeCluster, objects: readonly Rendered[]): Promise<MusterPods> {
    return new MusterPods(cluster, objects, await freePorts(4));
  }

  get metricsUrl(): string {
    return `http://127.0.0.1:${this.#ports[7362]}`;
  }

  /** A controller with the rights of its account and no others. */
  async startController(): Promise<void> {
    const token = await this.cluster.kubectl('create', 'token', 'muster-controllers', '-n', releaseNamespace);
    const kubeconfig = this.cluster.tokenKubeconfig(token.trim());
    const { args } = containerOf(find(this.objects, 'Deployment', 'muster-controllers'));
    const own = args.filter((arg) => arg !== '--in-cluster');
    this.#spawn('controller', ['--kubeconfig', kubeconfig, ...own.map((arg) => this.#here(arg, {}))]);
  }

  /** An agent in a Pod on a node; it may claim another. */
  async startAgent(node: string, { claimed = node, audience = 'muster' } = {}): Promise<void> {
    const { args } = containerOf(find(this.objects, 'DaemonSet', 'muster-agents'));
    const directory = join(this.home, `pod-${node}`);
    mkdirSync(directory, { recursive: true });
    const pod = `muster-agents-${node}`;
    const input = JSON.stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: pod, namespace: releaseNamespace },
      spec: {
        nodeName: node,
        serviceAccountName: 'muster-agents',
        containers: [{ name: 'agent', image: 'x' }],
      },
    });
    await this.cluster.kubectlWith({ input }, 'apply', '-f', '-');
    const token = await this.cluster.kubectl(
      ...['create', 'token', 'muster-agents', '-n', releaseNamespace, '--audience', audience],
      ...['--bound-object-kind', 'Pod', '--bound-object-name', pod],
    );
    writeFileSync(join(directory, 'token'), token.trim());
    const config = find(this.objects, 'ConfigMap', 'muster-node')['data'] as Record<string, string>;
    writeFileSync(join(directory, 'node.yaml'), config['node.yaml']!);
    // As the kubelet, which starts no Pod before its ConfigMaps are there.
    await eventually(() => this.refreshAuthority(node), 30_000);
    const own = args.map((arg) =>
      this.#here(arg, { NODE_NAME: claimed, HOST_IP: '127.0.0.1' })
        .replace('/var/run/secrets/muster/token', join(directory, 'token'))
        .replace('/etc/muster/authority/ca.crt', join(directory, 'ca.crt'))
        .replace('/etc/muster/node/node.yaml', join(directory, 'node.yaml'))
        .replace('--home=/var/lib/muster', `--home=${join(this.home, 'node')}`),
    );
    this.#spawn(`agent-${node}`, own);
  }

  /**
   * Does what the cluster would do with a Pod that helm makes and waits for: runs it to its end with its own arguments and the rights of
   * its own account, and writes down how it ended. Gives back what it said.
   */
  async runHook(kind: 'job' | 'pod', name: string): Promise<string> {
    const at = ['-n', releaseNamespace];
    let object: { spec: { template?: { spec: HookSpec } } & HookSpec; metadata: { uid: string } };
    await eventually(async () => {
      object = JSON.parse(
        await this.cluster.kubectl('get', kind, name, ...at, '-o', 'json'),
      ) as typeof object;
      // That of an earlier try lies about until the next one.
      if (this.#hooksRun.has(object.metadata.uid)) throw new Error(`${kind} ${name} is that of before`);
    }, 60_000);
    this.#hooksRun.add(object!.metadata.uid);
    const { spec } = object!;
    const { containers, serviceAccountName } = spec.template?.spec ?? spec;
    const token = await this.cluster.kubectl('create', 'token', serviceAccountName, ...at);
    const kubeconfig = this.cluster.tokenKubeconfig(token.trim());
    await this.cluster.kubectl(
      ...['config', 'set-context', 'test', `--namespace=${releaseNamespace}`, '--kubeconfig', kubeconfig],
    );
    // Made a moment ago, under a name that others had: the API server knows account and rights only a little later.
    await eventually(async () => {
      await this.cluster.kubectl(
        '--kubeconfig',
        kubeconfig,
        'auth',
        'can-i',
        'list',
        'pg',
        '-n',
        releaseNamespace,
      );
    }, 60_000);
    const own = containers[0].args.filter((arg) => arg !== '--in-cluster');
    const child = this.#spawn(name, ['--kubeconfig', kubeconfig, ...own]);
    const [code] = (await once(child, 'exit')) as [number | null];
    const said = this.log(name);
    const now = new Date().toISOString();
    const condition = {
      status: 'True',
      lastTransitionTime: now,
      lastProbeTime: now,
      reason: 'Done',
      message: '',
    };
    const done = code === 0 ? 'Complete' : 'Failed';
    const status =
      kind === 'job'
        ? {
            conditions: [{ type: done, ...condition }],
            [code === 0 ? 'succeeded' : 'failed']: 1,
            startTime: now,
          }
        : { phase: code === 0 ? 'Succeeded' : 'Failed', startTime: now };
    await this.cluster.kubectl(
      ...[
        'patch',
        kind,
        name,
        ...at,
        '--subresource=status',
        '--type=merge',
        '-p',
        JSON.stringify({ status }),
      ],
    );
    return said;
  }

  /** Brings the ConfigMap of the authorities to the agent's Pod as it is now. */
  async refreshAuthority(node: string): Promise<void> {
    const bundle = await this.cluster.kubectl(
      ...['get', 'configmap', 'muster-authority', '-n', releaseNamespace, '-o', 'jsonpath={.data.ca\\.crt}'],
    );
    writeFileSync(join(this.home, `pod-${node}`, 'ca.crt'), bundle);
  }

  async untilReady(node: string): Promise<void> {
    try {
      await eventually(async () => {
        const ready = await this.cluster.kubectl(
          ...['get', 'nm', node, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'],
        );
        if (ready !== 'True') throw new Error(`node ${node} is not ready: ${ready}`);
      }, 60_000);
    } catch (error) {
      throw new Error(
        `${(error as Error).message}\n${this.log('controller')}\n${this.log(`agent-${node}`)}`,
        {
          cause: error,
        },
      );
    }
  }

  async stop(name: string): Promise<void> {
    const child = this.#processes.get(name);
    this.#processes.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  }

  log(name: string): string {
    return readFileSync(join(this.home, `${name}.log`), 'utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of [...this.#processes.keys()].filter((each) => each !== 'controller'))
      await this.stop(name);
    await this.stop('controller');
    const down = this.#spawn('down', ['--home', join(this.home, 'node'), 'down']);
    await once(down, 'exit');
    rmSync(this.home, { recursive: true, force: true });
  }

  /** What the kubelet and DNS would put in place. */
  #here(arg: string, values: Record<string, string>): string {
    const all: Record<string, string> = { POD_IP: '127.0.0.1', POD_NAMESPACE: releaseNamespace, ...values };
    return arg
      .replaceAll(/\$\((\w+)\)/g, (whole, name: string) => all[name] ?? whole)
      .replaceAll(`muster-hub.${releaseNamespace}.svc`, 'localhost')
      .replaceAll('0.0.0.0', '127.0.0.1')
      .replaceAll(/:(736\d)\b/g, (_whole, port: string) => `:${this.#ports[port]}`);
  }

  #spawn(name: string, args: readonly string[]): ChildProcess {
    const log = openSync(join(this.home, `${name}.log`), 'a');
    const env = {
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
      HOME: '/root',
      MUSTER_HOME: join(this.home, name),
    };
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
      stdio: ['ignore', log, log],
      env,
      cwd: '/',
    });
    closeSync(log);
    this.#processes.set(name, child);
    return child;
  }
}
