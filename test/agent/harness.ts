// Agents as processes and specs as a controller would make them, for the tests in this folder.
import { spawn, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AgentConfig, defaultNodeConfig, type NodeConfig } from '../../node-agent/config.ts';
import type { SandboxSpec, Sent } from '../../wire/agent-types.ts';
import { environment } from '../compile-cache.ts';
import type { TestHub } from './hub.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
export const nativeDir = join(checkout, 'build/native');
export const programs = join(checkout, 'build/programs');
export const hasPrograms = existsSync(join(programs, 'cpi'));

export class AgentProcess implements AsyncDisposable {
  readonly node: string;
  readonly stateDir: string;
  readonly localSocket: string;
  log = '';
  /** Runs as this user, without any capability; undefined: as the test itself. */
  uid: number | undefined;
  readonly config: string;
  readonly #hub: TestHub;
  #mounts: string | undefined;
  #child: ChildProcess | null = null;
  ended: Promise<void> = Promise.resolve();

  static async start(
    hub: TestHub,
    node: string,
    overrides: {
      nodeConfig?: Partial<NodeConfig>;
      uid?: number;
      /** Shell commands first carried out in a mount namespace of the agent's own, which then stands for the host's. */
      mounts?: string;
      /** Where it serves metrics. */
      metrics?: NonNullable<AgentConfig['metrics']>;
      /** Where CRIU is. */
      criu?: string;
    } = {},
  ): Promise<AgentProcess> {
    const stateDir = join(hub.directory, node);
    mkdirSync(stateDir, { recursive: true });
    const { uid } = overrides;
    const config = {
      node,
      stateDir,
      hubAddresses: [`127.0.0.1:${String(hub.port)}`],
      tls: await hub.certificateOf(node),
      peerHost: '127.0.0.1',
      peerPort: 0,
      localSocket: join(uid === undefined ? hub.directory : stateDir, `${node}.sock`),
      nativeDir,
      criu: overrides.criu === undefined ? [] : [overrides.criu],
      metrics: overrides.metrics,
      nodeConfig: { ...defaultNodeConfig, ...overrides.nodeConfig },
      keepNamespaces: overrides.mounts !== undefined,
      build: 'test',
    };
    if (uid !== undefined) for (const path of [stateDir, config.tls.key]) chownSync(path, uid, uid);
    const agent = new AgentProcess(hub, node, stateDir, config.localSocket, JSON.stringify(config));
    agent.uid = uid;
    agent.#mounts = overrides.mounts;
    agent.run();
    await hub
      .until(() => hub.nodes.has(node), `agent ${node}`)
      .catch((error: unknown) => {
        throw new Error(`agent ${node} did not come: ${agent.log}`, { cause: error });
      });
    return agent;
  }

  constructor(hub: TestHub, node: string, stateDir: string, localSocket: string, config: string) {
    this.#hub = hub;
    this.node = node;
    this.stateDir = stateDir;
    this.localSocket = localSocket;
    this.config = config;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  run(): void {
    const words = [process.execPath, join(checkout, 'test/agent/agent-process.ts'), this.config];
    if (this.#mounts !== undefined)
      words.unshift('unshare', '--mount', 'sh', '-ec', `${this.#mounts}; exec "$@"`, 'sh');
    const [file = '', ...args] = words;
    const child = spawn(file, args, {
      stdio: ['ignore', 'inherit', 'pipe'],
      env: environment,
      ...(this.uid === undefined ? {} : { uid: this.uid, gid: this.uid }),
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
      if (process.env['SHOW_AGENT']) process.stderr.write(text);
    });
    this.#child = child;
    this.ended = new Promise((resolve) => {
      child.on('exit', () => {
        resolve();
      });
    });
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#child?.kill(signal);
    await this.ended;
  }

  /** Ends all it holds, then the agent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#hub.desired.get(this.node)?.clear();
    if (this.#child?.exitCode !== null || this.#child.signalCode !== null) this.run();
    this.#hub.nodes
      .get(this.node)
      ?.call.write({ desired: { full: true, revision: Number.MAX_SAFE_INTEGER } });
    const sandboxes = join(this.stateDir, 'sandboxes');
    await this.#hub.until(
      () => readdirSync(sandboxes).length === 0,
      `node ${this.node} to be empty; it says ${this.log}`,
    );
    await this.kill('SIGTERM');
  }
}

let groups = 0;

export interface SpecOptions {
  argv: string[];
  size?: number;
  ordinal?: number;
  sandboxes?: number;
  ranks?: string;
  groupUid?: string;
  overrides?: Omit<Sent<SandboxSpec>, 'id'>;
}

export function specOf(
  options: SpecOptions,
): Sent<SandboxSpec> & { id: { groupUid: string; ordinal: number; incarnation: number } } {
  const size = options.size ?? 1;
  const ranks = options.ranks ?? (size === 1 ? '0' : `0-${String(size - 1)}`);
  const groupUid = options.groupUid ?? `g${String(process.pid)}-${String(++groups)}`;
  return {
    id: { groupUid, ordinal: options.ordinal ?? 0, incarnation: 1 },
    namespace: 'default',
    groupName: 'test',
    want: 'Run',
    graceSeconds: 5,
    size,
    sandboxes: options.sandboxes ?? 1,
    ranks,
    hostname: '',
    kvsName: `kvs_${groupUid}`,
    pmi: 'PMI1',
    programs: [{ name: 'main', ranks, argv: options.argv, workingDir: '/' }],
    uid: 65534,
    gid: 65534,
    umask: 0o22,
    environment: 'Clean',
    stdin: 'None',
    stdout: 'Collect',
    stderr: 'Collect',
    whenFull: 'Rotate',
    root: 'Host',
    abortOnFailure: true,
    clusterId: 'test',
    ownerUid: 0xffffffff,
    tree: { parent: options.ordinal ?? 0, children: [] },
    ...options.overrides,
  };
}
