/**
 * Muster's own API server on the loopback interface with a store of its own, and the unmodified kubectl pointed at it by a
 * kubeconfig. Nothing else runs: objects stay as they are written.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { dump } from 'js-yaml';
import { pino } from 'pino';
import { FileStore } from '../../store/file/file-store.ts';
import { musterAdmit, musterTypes } from '../../store/muster-types.ts';
import { NamespaceLifecycle } from '../../store/namespace-lifecycle.ts';
import type { ResourceType } from '../../store/resource.ts';
import { ApiServer, type ApiServerOptions } from '../../store/server/api-server.ts';

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** A cluster that the real kubectl talks to, whichever it is. */
export interface KubectlTarget {
  readonly directory: string;
  readonly kubeconfig: string;
}

let kubectlPath: string | undefined;

export class Kubectl {
  readonly #target: KubectlTarget;

  constructor(target: KubectlTarget) {
    kubectlPath ??= execFileSync('scripts/kubectl.sh', { encoding: 'utf8' }).trim();
    this.#target = target;
  }

  start(args: readonly string[], { env }: RunOptions = {}): ChildProcess {
    const { directory, kubeconfig } = this.#target;
    return spawn(kubectlPath!, args, {
      cwd: directory,
      env: {
        ...process.env,
        KUBECONFIG: kubeconfig,
        HOME: directory,
        KUBECACHEDIR: `${directory}/cache`,
        ...env,
      },
      stdio: 'pipe',
    });
  }

  /** Runs to the end, whatever it is. */
  async end(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const child = this.start(args, options);
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    let stdout = '';
    let stderr = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdin!.on('error', () => undefined);
    child.stdin!.end(options.stdin ?? '');
    const code = await new Promise<number>((resolve) => child.once('close', (one) => resolve(one ?? -1)));
    clearTimeout(timer);
    return { code, stdout, stderr };
  }

  /** Its standard output; throws what it says when it fails. */
  async run(...args: string[]): Promise<string> {
    return (await this.must(args)).stdout;
  }

  async must(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const ended = await this.end(args, options);
    if (ended.code !== 0)
      throw new Error(`kubectl ${args.join(' ')}: ${ended.code}\n${ended.stdout}${ended.stderr}`);
    return ended;
  }

  /** What it says when it fails. */
  async refused(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const ended = await this.end(args, options);
    if (ended.code === 0) throw new Error(`kubectl ${args.join(' ')} succeeded: ${ended.stdout}`);
    return ended.stderr;
  }

  async json(...args: string[]): Promise<Record<string, unknown>> {
    return JSON.parse(await this.run(...args, '-o', 'json')) as Record<string, unknown>;
  }
}

export interface Api extends KubectlTarget, AsyncDisposable {
  readonly url: string;
  readonly store: FileStore;
  readonly server: ApiServer;
  readonly kubectl: Kubectl;
  write(name: string, text: string): string;
}

export interface ApiOptions extends Partial<ApiServerOptions> {
  readonly moreTypes?: readonly ResourceType[];
  readonly windowEvents?: number;
}

export async function startApi({ moreTypes = [], windowEvents, ...options }: ApiOptions = {}): Promise<Api> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'muster-kubectl-'));
  const types = [...musterTypes(), ...moreTypes];
  const store = await FileStore.open({
    directory: path.join(directory, 'store'),
    types,
    admit: musterAdmit,
    windowEvents,
  });
  const server = new ApiServer({
    store,
    types,
    authenticate: () => ({ name: 'tester', groups: ['system:authenticated'] }),
    ...options,
  });
  const stopping = new AbortController();
  const log = pino({ level: 'silent' });
  const namespaces = new NamespaceLifecycle({ store, types, log }, stopping.signal);
  await namespaces.begin();
  const keeping = namespaces.run();
  const { port } = (await server.listen({ host: '127.0.0.1', port: 0 })) as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const kubeconfig = path.join(directory, 'kubeconfig');
  const write = (name: string, text: string): string => {
    fs.writeFileSync(path.join(directory, name), text);
    return name;
  };
  write('kubeconfig', kubeconfigOf(url));
  return {
    directory,
    kubeconfig,
    url,
    store,
    server,
    kubectl: new Kubectl({ directory, kubeconfig }),
    write,
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await keeping;
      await server.close();
      await store.close();
      fs.rmSync(directory, { recursive: true });
    },
  };
}

function kubeconfigOf(server: string): string {
  return dump({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    clusters: [{ name: 'test', cluster: { server, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'test', user: {} }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
  });
}
