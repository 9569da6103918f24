/**
 * The carrier Pods of the cluster by the group that they belong to, kept by list and watch, and the making and deleting of them. It
 * decides nothing.
 */
import type { Logger } from 'pino';
import { labels } from '../../crds/names.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { Clock } from '../runtime/clock.ts';
import { ObjectSource } from '../runtime/object-source.ts';
import { carrierPolicy, type CarrierPolicy } from './gang.ts';
import { carrierPodOf, podType, type CarrierImage, type Pod } from './pod.ts';
import type { Share } from './split.ts';
import { carrierViewOf, type CarrierView } from './view.ts';

export interface CarrierBookOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly waiter: CarrierImage;
  readonly policy?: Partial<CarrierPolicy>;
  /** Nodes that the scheduler is not to place Pods on, for reasons that Kubernetes does not know. */
  readonly avoided?: () => readonly string[];
  readonly changed: (groupUid: string) => void;
}

export class CarrierBook {
  readonly policy: CarrierPolicy;
  readonly #options: CarrierBookOptions;
  readonly #source: ObjectSource<Pod>;
  readonly #views = new Map<string, Map<string, CarrierView>>();
  readonly #released = new Map<string, { sinceMs: number; why: string }>();
  #listed = false;

  constructor(options: CarrierBookOptions) {
    this.#options = options;
    this.policy = { ...carrierPolicy, ...options.policy };
    this.#source = new ObjectSource<Pod>({
      ...options,
      type: podType,
      labelSelector: labels.groupUid.name,
      changed: (key, after, before) => {
        const uid = (after ?? before)?.metadata.labels?.[labels.groupUid.name] ?? '';
        const views = this.#views.get(uid) ?? new Map<string, CarrierView>();
        if (after) views.set(key, carrierViewOf(after));
        else views.delete(key);
        if (views.size > 0) this.#views.set(uid, views);
        else this.#views.delete(uid);
        options.changed(uid);
      },
    });
    void this.#source.listed.then(() => (this.#listed = true));
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#source.run(signal);
  }

  get avoided(): readonly string[] {
    return this.#options.avoided?.() ?? [];
  }

  /** False while it is not known which there are. */
  get isKnown(): boolean {
    return this.#listed;
  }

  of(groupUid: string): readonly CarrierView[] {
    return [...(this.#views.get(groupUid)?.values() ?? [])];
  }

  released(groupUid: string): { readonly sinceMs: number; readonly why: string } | undefined {
    return this.#released.get(groupUid);
  }

  async make(
    group: ProcessGroup,
    incarnation: number,
    shares: readonly Share[],
    signal: AbortSignal,
  ): Promise<void> {
    const { store, waiter } = this.#options;
    const away = this.avoided;
    for (const share of shares) {
      try {
        await store.create<Pod>(podType, carrierPodOf(group, share, incarnation, waiter, away), signal);
      } catch (error) {
        // The watch has not told of it yet; or it is another's, which the group's status says then.
        if (!isStoreError(error, 'AlreadyExists')) throw error;
      }
    }
  }

  /** By the store itself: of some the watch may not have told yet. */
  async madeFor(migrationUid: string, namespace: string, signal: AbortSignal): Promise<CarrierView[]> {
    const labelSelector = `${labels.migrationUid.name}=${migrationUid}`;
    const { items } = await this.#options.store.list<Pod>(podType, { namespace, labelSelector }, signal);
    return items.map(carrierViewOf);
  }

  async release(
    groupUid: string,
    views: readonly CarrierView[],
    why: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (why !== undefined) this.#released.set(groupUid, { sinceMs: this.#options.clock.now(), why });
    for (const { namespace, name, uid } of views) {
      try {
        await this.#options.store.delete(
          podType,
          { namespace, name },
          { preconditions: { uid }, gracePeriodSeconds: 1 },
          signal,
        );
      } catch (error) {
        if (!isStoreError(error, 'NotFound', 'Conflict')) throw error;
      }
    }
  }

  forget(groupUid: string): void {
    this.#released.delete(groupUid);
  }
}
