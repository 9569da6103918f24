/**
 * Writes Event objects for people, after the fact and never in its way: a few at a time, folded by object, reason and text,
 * and given up quietly when the store does not take them. Nothing may depend on an event having been written.
 */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { builtinTypes } from '../../store/resource.ts';
import {
  isStoreError,
  type AnyObject,
  type KubernetesObject,
  type ObjectStore,
} from '../../store/object-store.ts';
import type { Clock } from './clock.ts';

export interface EventNote {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

const gatherMs = 200;
const mostWaiting = 1000;

export class EventRecorder implements Disposable {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #waiting: { regarding: KubernetesObject; note: EventNote; atMs: number }[] = [];
  #timer: Disposable | undefined;

  constructor(store: ObjectStore, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  record(regarding: KubernetesObject, note: EventNote): void {
    if (this.#waiting.length >= mostWaiting) return;
    this.#waiting.push({ regarding, note, atMs: this.#clock.now() });
    this.#timer ??= this.#clock.after(gatherMs, () => {
      this.#timer = undefined;
      void this.#flush();
    });
  }

  /** The object is gone: nobody will ask for its story. */
  drop(uid: string): void {
    this.#waiting = this.#waiting.filter(({ regarding }) => regarding.metadata.uid !== uid);
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#waiting = [];
  }

  async #flush(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { regarding, note, atMs } of waiting) {
      try {
        await this.#write(regarding, note, atMs);
      } catch (error) {
        this.#logger.debug({ err: error, reason: note.reason }, 'event not written');
      }
    }
  }

  async #write(regarding: KubernetesObject, note: EventNote, atMs: number): Promise<void> {
    const { name = '', namespace = 'default', uid = '' } = regarding.metadata;
    const digest = createHash('sha256')
      .update(`${uid} ${note.reason} ${note.message}`)
      .digest('hex')
      .slice(0, 12);
    const time = new Date(atMs).toISOString().replace(/Z$/, '000Z');
    const key = { namespace, name: `${name}.${digest}` };
    const { apiVersion, kind } = regarding;
    const event: AnyObject = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: {
        ...key,
        ...(uid === ''
          ? {}
          : { ownerReferences: [{ apiVersion: apiVersion ?? '', kind: kind ?? '', name, uid }] }),
      },
      eventTime: time,
      action: note.reason,
      reason: note.reason,
      type: note.type,
      note: note.message.slice(0, 1000),
      reportingController: 'muster.dev/controllers',
      reportingInstance: 'controllers',
      regarding: { apiVersion, kind, name, namespace, uid },
    };
    try {
      await this.#store.create(builtinTypes.event, event);
    } catch (error) {
      if (!isStoreError(error, 'AlreadyExists')) throw error;
      const before = await this.#store.get(builtinTypes.event, key);
      const count = ((before['series'] as { count?: number } | undefined)?.count ?? 1) + 1;
      const patch = { series: { count, lastObservedTime: time } };
      await this.#store.patch(builtinTypes.event, key, { type: 'merge', patch });
    }
  }
}
