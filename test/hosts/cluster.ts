/**
 * A Muster cluster over real hosts: the control plane and an agent on the first, started by `muster up`; agents on the others
 * that joined with a token, over the bridge. Everything goes through bin/muster, as a user's hands would.
 */
import { type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { eventually, killTree, type Executed } from './processes.ts';
import { type Host, Hosts, type HostOptions } from './hosts.ts';

const checkout = new URL('../../', import.meta.url).pathname;
export const muster = `${checkout}bin/muster`;
export const programs = `${checkout}build/programs`;

export interface Agent {
  readonly host: Host;
  readonly pid: number;
  readonly said: () => string;
  readonly hasEnded: () => boolean;
  /** Ends with a signal (SIGTERM, unless told), once the process is gone. */
  end(signal?: NodeJS.Signals): Promise<void>;
}

/** What `muster token create` prints, cut into its parts. */
export interface Ticket {
  readonly join: string;
  readonly token: string;
  readonly caHash: string;
}

export class Cluster implements AsyncDisposable {
  readonly hosts: Hosts;
  readonly agents = new Map<string, Agent>();

  private constructor(hosts: Hosts) {
    this.hosts = hosts;
  }

  /**
   * The control plane on the first host; `environments` are what the agents of the others start with. `supervised`: the first
   * host's agent is `muster up`'s, which starts it again whenever it ends; else it is one of `agents`. `up`: more options of it.
   */
  static async make(
    options: readonly HostOptions[],
    environments: Readonly<Record<string, Record<string, string>>> = {},
    { supervised = true, up = [] }: { supervised?: boolean; up?: readonly string[] } = {},
  ): Promise<Cluster> {
    for (const needed of [muster, `${programs}/ring`]) {
      if (!existsSync(needed))
        throw new Error(`${needed} is missing: run "make test", or "make build" and scripts/programs.sh`);
    }
    const cluster = new Cluster(await Hosts.make(options));
    try {
      const [first, ...others] = cluster.hosts.all;
      await cluster.succeed([
        'up',
        '--detach',
        '--agents',
        supervised ? '1' : '0',
        '--listen',
        first!.address,
        ...up,
      ]);
      if (!supervised) await cluster.startAgent(first!);
      await Promise.all(
        others.map(async (host) => cluster.join(host, await cluster.ticket(), environments[host.name])),
      );
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  get front(): Host {
    return this.hosts.all[0]!;
  }

  host(name: string): Host {
    const host = this.hosts.all.find((each) => each.name === name);
    if (!host) throw new Error(`no host ${name}`);
    return host;
  }

  /** `muster ...` on the first host. */
  muster(
    args: readonly string[],
    options: { input?: Uint8Array; env?: Record<string, string> } = {},
  ): Promise<Executed> {
    return this.front.run([muster, ...args], options);
  }

  async succeed(args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.muster(args);
    if (code !== 0)
      throw new Error(`muster ${args.join(' ')}: status ${code}\n${stdout.toString()}${stderr}`);
    return stdout.toString();
  }

  /** What a rank of test/programs/ring.c has told of its iterations; once all of it can be had, since an agent may be on its way back. */
  async ringLines(group: string, rank: number): Promise<string[]> {
    const args = ['logs', group, '-r', String(rank), '--no-label'];
    const text = await eventually(async () => {
      const { code, stdout } = await this.muster(args);
      return code === 0 && stdout.toString();
    }, `all that rank ${rank} of ${group} has said`);
    return text.split('\n').filter((line) => line.startsWith('rank '));
  }

  async ticket(more: readonly string[] = []): Promise<Ticket> {
    const said = await this.succeed(['token', 'create', ...more]);
    const match = /--join (\S+) --token (\S+) --ca-hash (\S+)/.exec(said);
    if (!match) throw new Error(`muster token create said: ${said}`);
    return { join: match[1]!, token: match[2]!, caHash: match[3]! };
  }

  /** An agent that joins, ready; its node has the host's name, as nobody says otherwise. */
  async join(host: Host, ticket: Ticket, env: Record<string, string> = {}): Promise<Agent> {
    return this.#agent(host, joinArguments(ticket), env);
  }

  /** The agent of a node that has joined before. */
  async startAgent(
    host: Host,
    env: Record<string, string> = {},
    args: readonly string[] = [],
  ): Promise<Agent> {
    return this.#agent(host, args, env);
  }

  async #agent(host: Host, args: readonly string[], env: Record<string, string>): Promise<Agent> {
    const { child, pid } = await host.start([muster, 'agent', ...args], env);
    const said = collect(child);
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
    const agent: Agent = {
      host,
      pid,
      said,
      hasEnded,
      end: async (signal = 'SIGTERM') => {
        if (!hasEnded()) process.kill(pid, signal);
        await ended;
      },
    };
    this.agents.set(host.name, agent);
    await eventually(async () => {
      if (child.exitCode !== null)
        throw new Error(`agent of ${host.name} ended with ${child.exitCode}: ${said()}`);
      return this.isReady(host.name);
    }, `node ${host.name} to be ready`);
    return agent;
  }

  /** After each test: what one that failed has left running, unplugged or ended is no matter of the next. */
  async heal(): Promise<void> {
    const agents = new Set([...this.agents.values()].map(({ pid }) => pid));
    for (const host of this.hosts.all) {
      for (const pid of host.running) if (!agents.has(pid)) killTree(pid);
      await host.link(true);
    }
    for (const agent of this.agents.values()) if (agent.hasEnded()) await this.startAgent(agent.host);
  }

  async isReady(node: string): Promise<boolean> {
    const { code, stdout } = await this.muster(['get', 'nm', node, '-o', 'json']);
    if (code !== 0) return false;
    const { status } = JSON.parse(stdout.toString()) as {
      status?: { conditions?: { type: string; status: string }[] };
    };
    return status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false;
  }

  async group(
    name: string,
  ): Promise<{ metadata: { uid: string }; status?: Record<string, unknown> & { phase?: string } }> {
    return JSON.parse(await this.succeed(['get', 'pg', name, '-o', 'json'])) as Awaited<
      ReturnType<Cluster['group']>
    >;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.muster(['down']);
      await Promise.all([...this.agents.values()].map((agent) => agent.end()));
    } finally {
      await this.hosts[Symbol.asyncDispose]();
    }
  }
}

export const joinArguments = ({ join, token, caHash }: Ticket): string[] => [
  '--join',
  join,
  '--token',
  token,
  '--ca-hash',
  caHash,
];

export function collect(child: ChildProcess): () => string {
  const parts: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (part: Buffer) => parts.push(part));
  return () => Buffer.concat(parts).toString();
}
