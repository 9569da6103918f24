/**
 * Carries out the garbage rules (`garbage.ts`) in the background, one object at a time, from a set of uids to look
 * at again. It is level-triggered: it always judges what is stored now, so a lost or doubled hint does no harm, and
 * after a restart it looks at everything once.
 */
import { garbageStepsOf, type GarbageStep, type Surroundings } from './garbage.ts';
import { isStoreError } from './store-error.ts';
import type { StoredObject } from './transition.ts';

export interface GarbageEffects extends Surroundings {
  find(uid: string): StoredObject | undefined;
  /** One ordinary write, with the object's version as precondition. */
  perform(step: GarbageStep): Promise<void>;
  failed(error: unknown, step: GarbageStep): void;
}

const retryAfterMs = 1000;

export class GarbageCollector {
  readonly #effects: GarbageEffects;
  readonly #dirty = new Set<string>();
  /** Steps that failed, to be tried again later. */
  readonly #postponed = new Set<string>();
  #running: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(effects: GarbageEffects) {
    this.#effects = effects;
  }

  /** Something about this object, its owners or its dependents has changed. */
  look(uid: string): void {
    if (this.#stopped) return;
    this.#dirty.add(uid);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when there is nothing left to look at (but for what failed and waits). */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve();
    while (this.#dirty.size > 0 && !this.#stopped) {
      const uids = [...this.#dirty];
      this.#dirty.clear();
      // Together, so that they share one wait for the disk.
      await Promise.all(uids.map((uid) => this.#collect(uid)));
    }
  }

  async #collect(uid: string): Promise<void> {
    const object = this.#effects.find(uid);
    if (object === undefined) return;
    await Promise.all(garbageStepsOf(object, this.#effects).map((step) => this.#step(step)));
  }

  async #step(step: GarbageStep): Promise<void> {
    try {
      await this.#effects.perform(step);
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return;
      if (isStoreError(error, 'Conflict')) {
        this.#dirty.add(step.object.metadata.uid);
        return;
      }
      this.#effects.failed(error, step);
      this.#later(step.object.metadata.uid);
    }
  }

  #later(uid: string): void {
    if (this.#stopped) return;
    this.#postponed.add(uid);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      const due = [...this.#postponed];
      this.#postponed.clear();
      for (const one of due) this.look(one);
    }, retryAfterMs).unref();
  }
}
