/**
 * Kills daemons of a cluster with SIGKILL at random moments of their lives, from their first instructions on, and starts them
 * again. What it does follows from its seed alone; when it does it also from the machine.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster, Daemon } from './cluster.ts';
import type { Random } from './random.ts';

export type Victims = 'agents' | 'controller' | 'all';

export class Chaos implements AsyncDisposable {
  kills = 0;
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #victims: Victims;
  readonly #stopping = new AbortController();
  readonly #done: Promise<void>;

  constructor(cluster: Cluster, random: Random, victims: Victims) {
    this.#cluster = cluster;
    this.#random = random;
    this.#victims = victims;
    this.#done = this.#go();
    this.#done.catch(() => undefined); // told by stop
  }

  async #go(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      // Sometimes before those killed last have come up; mostly while all work, so that there is progress.
      const early = this.#random.next() < 0.25;
      const afterMs = this.#random.between(0, early ? 150 : 500);
      if (!early) await this.#allUp();
      await pause(afterMs, undefined, { signal }).catch(() => undefined);
      while (this.#cluster.isQuiet && !signal.aborted) await pause(5);
      if (signal.aborted) return;
      const chosen = this.#choose();
      this.kills += chosen.length;
      await Promise.all(chosen.map((daemon) => daemon.restart()));
    }
  }

  async #allUp(): Promise<void> {
    const deadline = performance.now() + 30_000;
    while (!this.#stopping.signal.aborted && !this.#cluster.daemons.every((daemon) => daemon.isUp)) {
      if (performance.now() > deadline)
        throw new Error('a daemon that was killed has not come up again within 30 s');
      await pause(5);
    }
  }

  #choose(): readonly Daemon[] {
    const { agents, controller, daemons } = this.#cluster;
    const random = this.#random;
    switch (this.#victims) {
      case 'controller':
        return [controller];
      case 'agents':
        return random.next() < 0.3 ? agents : [random.pick(agents)];
      case 'all':
        return random.next() < 0.2 ? daemons : random.next() < 0.3 ? agents : [random.pick(daemons)];
    }
  }

  /** No more kills; every daemon is started. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
