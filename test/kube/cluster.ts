/**
 * A Kubernetes cluster's control plane for tests: etcd and the API server of scripts/kube-apiserver.sh on loopback, with an
 * authority, an administrator, and kubeconfigs for whomever a test needs. Both processes can be stopped, killed and started
 * again on the same data; etcd's data can be kept aside and put back, as a restored backup. No node, no kubelet, no scheduler.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { issue, makeAuthority, type KeyAndCertificate } from '../../controllers/pki/certificate.ts';
import { eventually } from '../contract/eventually.ts';

const startWithinMs = 60_000;

export interface KubeUser {
  readonly name: string;
  readonly groups?: readonly string[];
}

/** The administrator: in the group that may do everything. */
export const admin: KubeUser = { name: 'admin', groups: ['system:masters'] };

let programs: { server: string; etcd: string; kubectl: string } | undefined;

/** Builds or finds the programs; minutes when nothing is cached. */
function kubePrograms(): NonNullable<typeof programs> {
  const printed = (script: string): string =>
    execFileSync(script, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
  if (programs === undefined) {
    const prefix = printed('scripts/kube-apiserver.sh');
    programs = {
      server: join(prefix, 'bin/kube-apiserver'),
      etcd: join(prefix, 'bin/etcd'),
      kubectl: printed('scripts/kubectl.sh'),
    };
  }
  return programs;
}

export class KubeCluster implements AsyncDisposable {
  /** Everything of this cluster; removed with it. */
  readonly directory: string;
  readonly port: number;
  readonly #etcdPort: number;
  readonly #peerPort: number;
  readonly #authority: KeyAndCertificate;
  readonly #adminPair: KeyAndCertificate;
  #server: ChildProcess | undefined;
  #etcd: ChildProcess | undefined;
  #users = 0;

  private constructor(
    directory: string,
    ports: readonly number[],
    authority: KeyAndCertificate,
    adminPair: KeyAndCertificate,
  ) {
    this.directory = directory;
    [this.port, this.#etcdPort, this.#peerPort] = ports as [number, number, number];
    this.#authority = authority;
    this.#adminPair = adminPair;
  }

  static async start(): Promise<KubeCluster> {
    kubePrograms();
    const directory = mkdtempSync(join(tmpdir(), 'muster-kube-'));
    const authority = await makeAuthority('kubernetes');
    const frontProxy = await makeAuthority('front-proxy');
    const adminPair = await issue(authority, {
      kind: 'client',
      name: admin.name,
      groups: admin.groups ?? [],
    });
    const cluster = new KubeCluster(directory, await freePorts(3), authority, adminPair);
    const names = ['127.0.0.1', 'localhost', 'kubernetes.default.svc'];
    const put = (name: string, pair: KeyAndCertificate): void => {
      writeFileSync(join(directory, `${name}.crt`), pair.cert);
      writeFileSync(join(directory, `${name}.key`), pair.key, { mode: 0o600 });
    };
    put('ca', authority);
    put('front-proxy-ca', frontProxy);
    put('server', await issue(authority, { kind: 'server', names }));
    put('front-proxy', await issue(frontProxy, { kind: 'client', name: 'front-proxy-client', groups: [] }));
    writeFileSync(join(directory, 'tokens.csv'), '');
    writeFileSync(join(directory, 'token.key'), 'the key of the tokens of a test');
    cluster.#writeKubeconfig(join(directory, 'kubeconfig'), cluster.url, adminPair);
    try {
      await cluster.startEtcd();
      await cluster.startServer();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /** PEM of the authority that signed the server's certificate, and its users'. */
  get authority(): string {
    return this.#authority.cert;
  }

  /** The administrator's certificate and key, as PEM. */
  get adminTls(): KeyAndCertificate {
    return this.#adminPair;
  }

  /** Path of the administrator's kubeconfig. */
  get kubeconfig(): string {
    return join(this.directory, 'kubeconfig');
  }

  /** Path of a kubeconfig for a user with a certificate, by default the administrator; `url` is where a proxy listens. */
  async kubeconfigOf(user: KubeUser = admin, url = this.url): Promise<string> {
    const { name, groups = [] } = user;
    const path = join(this.directory, `kubeconfig-${++this.#users}`);
    this.#writeKubeconfig(path, url, await issue(this.#authority, { kind: 'client', name, groups }));
    return path;
  }

  /** Path of a kubeconfig with a bearer token. */
  tokenKubeconfig(token: string, url = this.url): string {
    const path = join(this.directory, `kubeconfig-${++this.#users}`);
    this.#writeKubeconfig(path, url, token);
    return path;
  }

  /** Runs the unmodified kubectl, as the administrator unless the arguments say otherwise; gives back what it printed. */
  async kubectl(...args: string[]): Promise<string> {
    return this.kubectlWith({}, ...args);
  }

  async kubectlWith(
    options: { kubeconfig?: string; input?: string; cwd?: string },
    ...args: string[]
  ): Promise<string> {
    const env = {
      PATH: process.env['PATH'],
      HOME: this.directory,
      KUBECONFIG: options.kubeconfig ?? this.kubeconfig,
      KUBECACHEDIR: join(this.directory, 'kubectl-cache'),
    };
    const cwd = options.cwd ?? process.cwd();
    const running = promisify(execFile)(kubePrograms().kubectl, args, {
      env,
      cwd,
      timeout: 180_000,
      maxBuffer: 256 * 1024 * 1024,
    });
    running.child.stdin?.end(options.input ?? '');
    return (await running).stdout;
  }

  /** Installs Muster's CustomResourceDefinitions and waits until they are served. */
  async installCrds(): Promise<void> {
    await this.kubectl('apply', '--server-side', '-f', 'crds/');
    await this.kubectl('wait', '--for=condition=Established', '--timeout=30s', 'crd', '-l', '!none');
  }

  async startEtcd(): Promise<void> {
    const client = `http://127.0.0.1:${this.#etcdPort}`;
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    this.#etcd = this.#spawn('etcd', kubePrograms().etcd, [
      '--name=test',
      `--data-dir=${this.#dataDirectory}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=test=${peer}`,
      '--unsafe-no-fsync',
      '--log-level=warn',
    ]);
    await this.#untilOk(this.#etcd, 'etcd', () => httpStatus(http, `${client}/health`));
  }

  async startServer(): Promise<void> {
    const file = (name: string): string => join(this.directory, name);
    this.#server = this.#spawn('apiserver', kubePrograms().server, [
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${this.port}`,
      `--tls-cert-file=${file('server.crt')}`,
      `--tls-private-key-file=${file('server.key')}`,
      `--client-ca-file=${file('ca.crt')}`,
      `--token-auth-file=${file('tokens.csv')}`,
      `--service-account-key-file=${file('token.key')}`,
      `--requestheader-client-ca-file=${file('front-proxy-ca.crt')}`,
      `--proxy-client-cert-file=${file('front-proxy.crt')}`,
      `--proxy-client-key-file=${file('front-proxy.key')}`,
      '--shutdown-delay-duration=0s',
    ]);
    const { cert, key } = this.#adminPair;
    const tls = { ca: this.#authority.cert, cert, key };
    const get = (path: string): Promise<number> => httpStatus(https, `${this.url}${path}`, tls);
    await this.#untilOk(this.#server, 'the API server', () => get('/readyz'));
    // The last thing that bootstrapping makes.
    const last = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication';
    await this.#untilOk(this.#server, 'the API server', () => get(last));
  }

  async stopServer(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await stop(this.#server, signal);
    this.#server = undefined;
  }

  /** Stops the whole cluster, puts etcd's data back to what it was at `keepData`, and starts it again. */
  async restoreData(kept: string): Promise<void> {
    await this.stopServer('SIGKILL');
    await this.#stopEtcd();
    rmSync(this.#dataDirectory, { recursive: true });
    cpSync(kept, this.#dataDirectory, { recursive: true });
    await this.startEtcd();
    await this.startServer();
  }

  /** A copy of etcd's data as it is now; the cluster is down meanwhile. */
  async keepData(): Promise<string> {
    const kept = join(this.directory, `etcd-kept-${++this.#users}`);
    await this.stopServer('SIGKILL');
    await this.#stopEtcd();
    cpSync(this.#dataDirectory, kept, { recursive: true });
    await this.startEtcd();
    await this.startServer();
    return kept;
  }

  /** Resident memory and CPU time of the API server so far, for benchmarks. */
  get serverPid(): number | undefined {
    return this.#server?.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopServer('SIGKILL');
    await this.#stopEtcd();
    rmSync(this.directory, { recursive: true, force: true });
  }

  get #dataDirectory(): string {
    return join(this.directory, 'etcd');
  }

  async #stopEtcd(): Promise<void> {
    await stop(this.#etcd, 'SIGTERM');
    this.#etcd = undefined;
  }

  /** Ends with whoever started it, however that ends. */
  #spawn(name: string, program: string, args: readonly string[]): ChildProcess {
    mkdirSync(this.directory, { recursive: true });
    const log = openSync(join(this.directory, `${name}.log`), 'a');
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], {
      stdio: ['ignore', log, log],
      cwd: this.directory,
    });
    closeSync(log);
    return child;
  }

  async #untilOk(child: ChildProcess, what: string, status: () => Promise<number>): Promise<void> {
    try {
      await eventually(async () => {
        if (child.exitCode !== null) return;
        const code = await status();
        if (code !== 200) throw new Error(`it answered ${code}`);
      }, startWithinMs);
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
    } catch (error) {
      throw new Error(`${what} did not become ready: ${(error as Error).message}\n${this.#logs()}`, {
        cause: error,
      });
    }
  }

  #logs(): string {
    const tail = (name: string): string => {
      try {
        return readFileSync(join(this.directory, `${name}.log`), 'utf8')
          .split('\n')
          .slice(-15)
          .join('\n');
      } catch {
        return '';
      }
    };
    return `${tail('etcd')}\n${tail('apiserver')}`;
  }

  #writeKubeconfig(path: string, url: string, identity: KeyAndCertificate | string): void {
    const base64 = (text: string): string => Buffer.from(text).toString('base64');
    const user =
      typeof identity === 'string'
        ? { token: identity }
        : {
            'client-certificate-data': base64(identity.cert),
            'client-key-data': base64(identity.key),
          };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'test',
          cluster: { server: url, 'certificate-authority-data': base64(this.#authority.cert) },
        },
      ],
      users: [{ name: 'user', user }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'user' } }],
      'current-context': 'test',
    };
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
  }
}

async function stop(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

async function httpStatus(
  protocol: typeof http | typeof https,
  url: string,
  options: https.RequestOptions = {},
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const request = protocol.get(url, { ...options, agent: false, timeout: 5000 }, (response) => {
    response.resume();
    response.on('end', () => resolve(response.statusCode ?? 0));
    response.on('error', reject);
  });
  request.on('timeout', () => request.destroy(new Error('no answer within 5 s')));
  request.on('error', reject);
  return promise;
}

/** Ports that were free a moment ago, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map(async (server) => once(server.close(), 'close')));
  return ports;
}
