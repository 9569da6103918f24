/**
 * A control plane and agents of a home of their own on this machine, as `muster up` starts them, brought down and removed
 * at the end. The home lies on a disk, since what is durable is part of every figure.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { run, type Command } from './command.ts';

const root = path.dirname(path.dirname(import.meta.dirname));
const muster = path.join(root, 'bin', 'muster');
export const programs = path.join(root, 'build', 'programs');

export class Cluster implements AsyncDisposable {
  readonly home: string;

  private constructor(home: string) {
    this.home = home;
  }

  static async up(agents: number): Promise<Cluster> {
    const cluster = new Cluster(
      mkdtempSync(path.join(process.env['MUSTER_BENCH_DIR'] ?? '/var/tmp', 'muster-bench-')),
    );
    try {
      await cluster.start(agents);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  /** Again, after `muster down`; how long it took. */
  async start(agents: number): Promise<number> {
    return (await run(this.command('up', '--detach', '--agents', String(agents)))).wallMs;
  }

  command(...args: string[]): Command {
    return { file: muster, args, env: { MUSTER_HOME: this.home } };
  }

  run(ranks: number, ...words: string[]): Command {
    return this.command('run', '-n', String(ranks), ...words);
  }

  /** Of one of its daemons: controller, node1, ... */
  pidOf(daemon: string): number {
    const record = JSON.parse(readFileSync(path.join(this.home, 'run', `${daemon}.pid.json`), 'utf8')) as {
      pid: number;
    };
    return record.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run(this.command('down'));
    rmSync(this.home, { recursive: true, force: true });
  }
}
