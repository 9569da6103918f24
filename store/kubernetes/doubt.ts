/**
 * Whether objects may be missing from the cluster that nobody deleted: its database was put back to an older state, which shows when
 * versions that were seen are larger than those that are there. The doubt stands in a ConfigMap, so that it outlives controllers; only
 * an administrator takes it away. What follows from it is decided elsewhere.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { AnyObject, ObjectStore } from '../object-store.ts';
import { builtinTypes } from '../resource.ts';
import { isStoreError } from '../store-error.ts';
import { retryDelayMs } from './retry.ts';

export interface ClusterDoubt {
  readonly severity: 'Lost';
  readonly since: string;
  readonly messages: readonly string[];
}

const name = 'muster-store-doubt';
const mostMessages = 20;

interface ConfigMap extends AnyObject {
  data?: Record<string, string>;
}

export class ClusterDoubtRecord {
  readonly #store: ObjectStore;
  readonly #namespace: string;
  readonly #logger: Pick<Logger, 'error' | 'warn'>;
  #doubt: ClusterDoubt | undefined;
  #writing: Promise<void> | undefined;

  constructor(store: ObjectStore, namespace: string, logger: Pick<Logger, 'error' | 'warn'>) {
    this.#store = store;
    this.#namespace = namespace;
    this.#logger = logger;
  }

  get doubt(): ClusterDoubt | undefined {
    return this.#doubt;
  }

  /** Reads what an earlier controller wrote down. */
  async load(signal: AbortSignal): Promise<void> {
    const map = await this.#read(signal);
    const text = map?.data?.['doubt'];
    if (text === undefined) return;
    this.#doubt ??= JSON.parse(text) as ClusterDoubt;
  }

  /** Holds at once; written down as soon as the cluster takes it. */
  raise(message: string): void {
    const { messages = [], since = new Date().toISOString() } = this.#doubt ?? {};
    if (messages.includes(message) || messages.length >= mostMessages) return;
    this.#logger.error({ reason: message }, 'objects may be missing from the cluster');
    this.#doubt = { severity: 'Lost', since, messages: [...messages, message] };
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  async trust(): Promise<void> {
    this.#doubt = undefined;
    await this.#writing;
    try {
      await this.#store.delete(builtinTypes.configMap, { namespace: this.#namespace, name });
    } catch (error) {
      if (!isStoreError(error, 'NotFound')) throw error;
    }
  }

  async #write(): Promise<void> {
    for (let failures = 1; this.#doubt !== undefined; failures++) {
      const written = this.#doubt;
      try {
        const data = { doubt: JSON.stringify(written) };
        const before = await this.#read();
        const metadata = { namespace: this.#namespace, name };
        if (before) await this.#store.update<ConfigMap>(builtinTypes.configMap, { ...before, data });
        else
          await this.#store.create<ConfigMap>(builtinTypes.configMap, {
            apiVersion: 'v1',
            kind: 'ConfigMap',
            metadata,
            data,
          });
        if (this.#doubt === written) return;
      } catch (error) {
        if (failures === 1) this.#logger.warn({ err: error }, 'the doubt could not be written down yet');
        await pause(retryDelayMs(failures, Math.random()), undefined, { ref: false });
      }
    }
  }

  async #read(signal?: AbortSignal): Promise<ConfigMap | undefined> {
    try {
      return await this.#store.get<ConfigMap>(
        builtinTypes.configMap,
        { namespace: this.#namespace, name },
        signal,
      );
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      throw error;
    }
  }
}
