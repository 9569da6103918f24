// Sandboxes of real jobs under real agents, and the orders of a checkpoint given step by step as the controllers would.
import { constants } from 'node:os';
import { expect } from 'vitest';
import type { CheckpointFact, ImageSource, SandboxFact, SandboxSpec, Sent } from '../../wire/agent-types.ts';
import { AgentProcess, specOf, type SpecOptions } from '../agent/harness.ts';
import { TestHub } from '../agent/hub.ts';
import { eventually } from '../contract/eventually.ts';
import { criuProgram } from '../criu/criu.ts';

type Spec = ReturnType<typeof specOf>;
let checkpoints = 0;
let signals = 0;
let subnets = 0;
/** Tests of several checkouts may run on one machine: each process has networks of its own, of the range for benchmarks. */
const pool = `198.${String(18 + ((process.pid >> 8) & 1))}.${String(process.pid & 255)}`;
const firstVni = 4710 + (process.pid % 1000) * 256;
const addresses = 16;

/** The first address of a network that nobody has, by its last byte. */
const nextSubnet = (): number => (++subnets * addresses) % 256;

/** What puts a sandbox into a network of its own, where nobody else takes its ports while it is away. */
export function isolated(): Omit<Sent<SandboxSpec>, 'id'> {
  const subnet = `${pool}.${String(nextSubnet())}/28`;
  const members = [{ address: '127.0.0.1', ordinals: '0' }];
  return {
    hostname: 'ring-0',
    network: { subnet, vni: firstVni + subnets, port: 14790, mtu: 1450, members },
  };
}

/** Every sandbox is a child of the first. */
function treeOf(hub: TestHub, nodes: readonly string[], ordinal: number): Sent<SandboxSpec>['tree'] {
  const root = nodes[0] ?? '';
  const children = nodes.slice(1).map((node, at) => ({ ordinal: at + 1, node }));
  return {
    parent: 0,
    parentNode: root,
    parentAddress: hub.nodes.get(root)?.hello.peerAddress ?? '',
    children: ordinal === 0 ? children : [],
  };
}

export class Scene implements AsyncDisposable {
  readonly hub: TestHub;
  readonly agents: readonly AgentProcess[];

  /** `criu`: of each node, the last also of those after it. */
  static async start(nodes = 1, ...criu: string[]): Promise<Scene> {
    const hub = await TestHub.start();
    const agents: AgentProcess[] = [];
    for (let node = 1; node <= nodes; node++)
      agents.push(
        await AgentProcess.start(hub, `node${String(node)}`, {
          criu: criu[node - 1] ?? criu.at(-1) ?? criuProgram(),
        }),
      );
    return new Scene(hub, agents);
  }

  constructor(hub: TestHub, agents: readonly AgentProcess[]) {
    this.hub = hub;
    this.agents = agents;
  }

  async run(options: SpecOptions, node = 'node1'): Promise<Job> {
    const spec = specOf(options);
    this.hub.desire(node, spec);
    const job = new Job(this.hub, node, spec);
    await this.hub.until(
      () => (job.fact()?.ranksRunning ?? 0) > 0 || job.fact()?.state === 'Ended',
      'ranks to run',
    );
    return job;
  }

  /** One job of several sandboxes, each in a network namespace of its own, on these nodes. */
  async runGroup(
    argv: string[],
    ranksEach: number,
    nodes: readonly string[],
    more: Omit<Sent<SandboxSpec>, 'id'> = {},
  ): Promise<Group> {
    const { groupUid } = specOf({ argv }).id;
    const first = nextSubnet();
    const jobs = nodes.map((node, ordinal) => {
      const spec = specOf({
        argv,
        size: ranksEach * nodes.length,
        groupUid,
        ordinal,
        sandboxes: nodes.length,
        ranks: `${String(ordinal * ranksEach)}-${String((ordinal + 1) * ranksEach - 1)}`,
        overrides: {
          hostname: `ring-${String(ordinal)}`,
          hosts: nodes.map((_, at) => `${pool}.${String(first + at + 1)} ring-${String(at)}\n`).join(''),
          processMapping: `(vector,(0,${String(nodes.length)},${String(ranksEach)}))`,
          network: {
            subnet: `${pool}.${String(first)}/28`,
            vni: firstVni + subnets,
            port: 14790,
            mtu: 1450,
            members: [{ address: '127.0.0.1', ordinals: `0-${String(nodes.length - 1)}` }],
          },
          tree: treeOf(this.hub, nodes, ordinal),
          ...more,
        },
      });
      this.hub.desire(node, spec);
      return new Job(this.hub, node, spec);
    });
    for (const job of jobs)
      await this.hub.until(() => (job.fact()?.ranksRunning ?? 0) > 0, 'ranks of every sandbox to run');
    return new Group(jobs);
  }

  /** Once an agent has said anything of this incarnation. */
  async begun(groupUid: string, incarnation: number): Promise<void> {
    const isOf = ({ id }: SandboxFact): boolean =>
      id?.groupUid === groupUid && id.incarnation === incarnation;
    await this.hub.until(() => this.hub.history.some(isOf), `incarnation ${String(incarnation)} to begin`);
  }

  /** The first node's, which comes back. */
  async killAgent(): Promise<void> {
    const { sessions } = this.hub;
    const [agent] = this.agents;
    await agent?.kill();
    agent?.run();
    await this.hub.until(() => this.hub.sessions > sessions, 'the agent to be back');
  }

  /** A checkpoint up to this state, in which the agent is killed; then what has become of it. */
  async killedWhen(job: Job, uid: string, state: string, more: OrderOptions = {}): Promise<string> {
    const now = () => job.fact()?.checkpoint?.state;
    job.order(uid, 'Prepare', more);
    if (state !== 'Preparing') await job.reached(uid, 'Prepared');
    if (!['Preparing', 'Prepared'].includes(state)) {
      job.order(uid, 'Dump', more);
      await this.hub.until(() => now() === state || now() === 'Dumped', state);
    }
    if (state === 'Committed') {
      job.order(uid, 'Commit', more);
      await this.hub.until(() => now() === 'Committed' || now() === 'Saved', state);
    }
    await this.killAgent();
    await this.hub.until(() => {
      const { checkpoint } = job.fact() ?? {};
      return checkpoint?.held === false && ['Saved', 'Aborted'].includes(checkpoint.state);
    }, `the end of a checkpoint whose agent was killed when ${state}`);
    const fact = job.fact()?.checkpoint;
    return fact?.state === 'Aborted' ? fact.reason : (fact?.state ?? '');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.agents) await agent[Symbol.asyncDispose]();
    await this.hub[Symbol.asyncDispose]();
  }
}

export interface OrderOptions {
  readonly engine?: 'Criu' | 'Application';
  readonly hold?: boolean;
  readonly holdAtMostMs?: number;
  readonly openFiles?: string;
  readonly externalConnections?: string;
  readonly signal?: number;
  readonly signalMs?: number;
}

export interface Saved {
  readonly checkpointUid: string;
  readonly fact: CheckpointFact;
}

/** One sandbox of a job on a node. */
export class Job {
  readonly hub: TestHub;
  readonly node: string;
  spec: Spec;

  constructor(hub: TestHub, node: string, spec: Spec) {
    this.hub = hub;
    this.node = node;
    this.spec = spec;
  }

  fact(): SandboxFact | undefined {
    return this.hub.fact(this.spec.id);
  }

  /** What the hub wants of it from now on. */
  want(change: Omit<Sent<SandboxSpec>, 'id'>): void {
    this.spec = { ...this.spec, ...change };
    this.hub.desire(this.node, this.spec);
  }

  order(checkpointUid: string, step: string, more: OrderOptions = {}): void {
    this.want({
      checkpoint: {
        checkpointUid,
        step,
        name: `default/${checkpointUid}`,
        engine: 'Auto',
        holdAtMostMs: 60_000,
        ...more,
      },
    });
  }

  /** The fact once the checkpoint is in one of these states. */
  async reached(checkpointUid: string, ...states: string[]): Promise<CheckpointFact> {
    const now = (): CheckpointFact | null => {
      const { checkpoint = null } = this.fact() ?? {};
      return checkpoint?.checkpointUid === checkpointUid ? checkpoint : null;
    };
    await this.hub.until(
      () => states.includes(now()?.state ?? '') || now()?.state === 'Aborted',
      `${checkpointUid} to be ${states.join(' or ')}`,
    );
    const fact = now() as CheckpointFact;
    if (!states.includes(fact.state))
      throw new Error(`checkpoint ${fact.state}: ${fact.reason}: ${fact.message}`);
    return fact;
  }

  /** All steps of a checkpoint. `hold`: the sandbox stays frozen afterwards. */
  async save(more: OrderOptions = {}): Promise<Saved> {
    const checkpointUid = `c${String(process.pid)}-${String(++checkpoints)}`;
    this.order(checkpointUid, 'Prepare', more);
    await this.reached(checkpointUid, 'Prepared');
    this.order(checkpointUid, 'Dump', more);
    await this.reached(checkpointUid, 'Dumped');
    this.order(checkpointUid, 'Commit', more);
    const fact = await this.reached(checkpointUid, 'Saved');
    return { checkpointUid, fact };
  }

  /** A ring, once it turns, told to end. */
  async finish(): Promise<SandboxFact> {
    const { id } = this.spec;
    await eventually(async () => expect(await this.output(0, false)).toContain('iteration '));
    const told = { id, kind: 'Signal', signal: constants.signals.SIGUSR1, ranks: '0', signalId: ++signals };
    expect(await this.hub.verb(this.node, told)).toMatchObject({ reached: 1, message: '' });
    return this.hub.ended(id);
  }

  /** Ends it without letting it run on, and forgets it. */
  async vacate(): Promise<void> {
    this.hub.remove(this.node, this.spec.id);
    await this.hub.until(() => this.fact() === undefined, 'the sandbox to be gone');
  }

  /** As the next incarnation, from an image. */
  async restore(
    { checkpointUid, fact }: Saved,
    node = this.node,
    tree: Sent<SandboxSpec>['tree'] = this.spec.tree,
    sources: Sent<ImageSource>[] = [
      { node: this.node, address: this.hub.nodes.get(this.node)?.hello.peerAddress ?? '' },
    ],
    openFiles = 'Truncate',
  ): Promise<Job> {
    const { id } = this.spec;
    const spec: Spec = {
      ...this.spec,
      id: { ...id, incarnation: id.incarnation + 1 },
      tree,
      checkpoint: undefined,
      restore: {
        image: { checkpointUid, ordinal: id.ordinal },
        digest: fact.digest,
        sources,
        openFiles,
        checkpoint: `default/${checkpointUid}`,
      },
    };
    const job = new Job(this.hub, node, spec);
    this.hub.desire(node, spec);
    await this.hub.until(
      () => ['Running', 'Ended', 'Failed'].includes(job.fact()?.state ?? ''),
      'the sandbox to be restored',
    );
    return job;
  }

  /** To its end, or what there is of it now. */
  async output(rank = 0, follow = true): Promise<string> {
    const logs = await this.hub.logs(this.node, this.spec.id, follow);
    return logs.get(`${String(rank)}/1`)?.toString() ?? '';
  }
}

/** The sandboxes of one job, saved and restored together. */
export class Group {
  readonly jobs: readonly Job[];

  constructor(jobs: readonly Job[]) {
    this.jobs = jobs;
  }

  async save(more: OrderOptions = {}): Promise<Saved[]> {
    const checkpointUid = `c${String(process.pid)}-${String(++checkpoints)}`;
    const all = async (step: string, state: string): Promise<CheckpointFact[]> => {
      for (const job of this.jobs) job.order(checkpointUid, step, more);
      return Promise.all(this.jobs.map((job) => job.reached(checkpointUid, state)));
    };
    await all('Prepare', 'Prepared');
    await all('Dump', 'Dumped');
    return (await all('Commit', 'Saved')).map((fact) => ({ checkpointUid, fact }));
  }

  async vacate(): Promise<void> {
    await Promise.all(this.jobs.map((job) => job.vacate()));
  }

  /** On these nodes, or where each was. */
  async restore(saved: readonly Saved[], nodes = this.jobs.map(({ node }) => node)): Promise<Group> {
    return new Group(
      await Promise.all(
        this.jobs.map((job, at) => job.restore(saved[at] as Saved, nodes[at], treeOf(job.hub, nodes, at))),
      ),
    );
  }

  async ended(): Promise<SandboxFact[]> {
    return Promise.all(this.jobs.map((job) => job.hub.ended(job.spec.id)));
  }

  /** A ring, told to end. */
  async finish(): Promise<SandboxFact[]> {
    await this.jobs[0]?.finish();
    return this.ended();
  }
}
