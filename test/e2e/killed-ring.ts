/**
 * A ring of four ranks on two nodes whose daemons kill themselves at points that a test names (MUSTER_FAIL_POINTS), while something is
 * done to it that is asked for by an object: what became of that, and whether every iteration of rank 0 is still there once and in
 * order. It knows no protocol.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, eventually, program, type Condition } from './cluster.ts';

const reportEvery = 20;

/** An object that is made, and the conditions of which one is true once it is done. */
export interface Asked {
  readonly kind: string;
  readonly name: string;
  readonly spec: object;
  readonly ends: readonly string[];
}

export class KilledRing implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly #pointsFile: string;

  static async up(): Promise<KilledRing> {
    criuProgram();
    const pointsFile = `/var/tmp/muster-fail-points-${String(process.pid)}`;
    writeFileSync(pointsFile, '');
    const cluster = await Cluster.up({ agents: 2, env: { MUSTER_FAIL_POINTS: pointsFile } });
    const ring = new KilledRing(cluster, pointsFile);
    const many = ['--seconds', '600', '--report-every', String(reportEvery), '--bytes', '4096'];
    await cluster.done([
      ...['run', '--detach', '--name', 'ring', '-n', '4', '--nodes', 'node1,node2'],
      ...[program('ring'), ...many],
    ]);
    const hasBegun = async (): Promise<boolean> => (await cluster.done(['logs', 'ring'])).length > 100;
    await eventually(hasBegun, 'output', undefined, 40_000);
    return ring;
  }

  private constructor(cluster: Cluster, pointsFile: string) {
    this.cluster = cluster;
    this.#pointsFile = pointsFile;
  }

  /** Where somebody is killed next, one a line; who is strikes it out. */
  get points(): string {
    return readFileSync(this.#pointsFile, 'utf8');
  }

  set points(points: string) {
    writeFileSync(this.#pointsFile, points);
  }

  /** Asks, while somebody is killed at each of these points; the condition that came true. */
  async killedAt(points: readonly string[], { kind, name, spec, ends }: Asked): Promise<Condition> {
    this.points = points.map((point) => `${point}\n`).join('');
    const stdin = JSON.stringify({ apiVersion: 'muster.dev/v1alpha1', kind, metadata: { name }, spec });
    const isAsked = async (): Promise<boolean> =>
      (await this.cluster.muster(['apply', '-f', '-'], { stdin })).code === 0;
    await eventually(isAsked, `${name} to be asked for`);
    let conditions: readonly Condition[] = [];
    const ended = (): Condition | undefined =>
      conditions.find(({ type, status }) => status === 'True' && ends.includes(type));
    const hasEnded = async (): Promise<boolean> => {
      const shown = await this.cluster.muster(['get', kind, name, '-o', 'json']);
      if (shown.code !== 0) return false; // the controller is being started again
      const { status } = JSON.parse(shown.stdout) as { status?: { conditions?: Condition[] } };
      conditions = status?.conditions ?? [];
      return ended() !== undefined;
    };
    const what = `the end of a ${kind} in which somebody is killed at ${points.join(', ')}`;
    await eventually(hasEnded, what, () => JSON.stringify(conditions), 90_000);
    // Whoever is killed at the last of them may be so only now, and is started again.
    const left = (): string => this.points.trim();
    await eventually(() => left() === '', 'everybody to be killed', left);
    return ended()!;
  }

  /** Also while the controller is being started again. */
  async done(args: readonly string[]): Promise<string> {
    let text = '';
    const isDone = async (): Promise<boolean> => {
      const { code, stdout } = await this.cluster.muster(args);
      text = stdout;
      return code === 0;
    };
    await eventually(isDone, `muster ${args.join(' ')}`);
    return text;
  }

  /** Every iteration of rank 0 once and in order, so far; and it goes on. */
  async expectWhole(): Promise<void> {
    const read = async (): Promise<string[]> =>
      (await this.done(['logs', 'ring', '-r', '0', '--no-label'])).trimEnd().split('\n');
    const before = (await read()).length;
    await eventually(async () => (await read()).length > before, 'the ring to go on');
    const lines = (await read()).filter((line) => line.startsWith('rank '));
    lines.forEach((line, at) => expect(line).toContain(`rank 0 iteration ${String(at * reportEvery)} `));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    rmSync(this.#pointsFile, { force: true });
  }
}
