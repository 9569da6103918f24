/**
 * Which of several replicas leads, by a Lease in the store (the protocol of client-go, so that one's `kubectl get lease` reads as
 * usual). Clocks of different machines are never compared: a lease counts as expired when it has not changed for its duration by our
 * own clock. A leader that cannot renew stops leading before anybody else may begin; one that ends gives the lease back at once.
 */
import type { Logger } from 'pino';
import {
  isStoreError,
  type KubernetesObject,
  type ObjectKey,
  type ObjectStore,
} from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';
import type { Clock } from './clock.ts';
import { pause } from './object-source.ts';

export interface LeaderElectionOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly lease: ObjectKey;
  /** Of this replica, unlike that of any other, also of its own earlier life. */
  readonly identity: string;
  /** What others are to know of the leader, such as its address: stands in the lease's annotations. */
  readonly about?: Readonly<Record<string, string>>;
  readonly times?: Partial<ElectionTimes>;
  /** The lease was seen to be older than it was: the store was put back to an earlier state. */
  readonly wentBack?: (from: string, to: string) => void;
}

export interface ElectionTimes {
  readonly leaseMs: number;
  /** A leader that could not renew for so long leads no more; shorter than the lease. */
  readonly renewWithinMs: number;
  readonly retryMs: number;
}

/** Long enough for a store that takes 5 s to answer. */
const usual: ElectionTimes = { leaseMs: 20_000, renewWithinMs: 16_000, retryMs: 2_000 };

interface Lease extends KubernetesObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

export interface Leader {
  readonly identity: string;
  readonly about: Readonly<Record<string, string>>;
}

export class LeaderElection {
  readonly #options: LeaderElectionOptions;
  readonly #times: ElectionTimes;
  #seen: Lease | undefined;
  /** When the lease was last seen to change, by our own clock. */
  #seenMs = 0;
  /** When what renewed our own lease was asked for. */
  #renewedMs = -Infinity;

  constructor(options: LeaderElectionOptions) {
    this.#options = options;
    this.#times = { ...usual, ...options.times };
  }

  /** Who leads as far as is known; undefined while nobody does. */
  get leader(): Leader | undefined {
    const lease = this.#seen;
    const identity = lease?.spec?.holderIdentity ?? '';
    return lease === undefined || identity === ''
      ? undefined
      : { identity, about: lease.metadata.annotations ?? {} };
  }

  /** Whether this replica leads for certain at this moment, also when it was paused and does not know it yet. */
  get isLeading(): boolean {
    return this.#options.clock.steady() < this.#renewedMs + this.#times.renewWithinMs;
  }

  /** Waits for the lead, calls `lead` with a signal that aborts when it is lost, and so on until `signal` aborts. */
  async run(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, logger, identity } = this.#options;
    while (!signal.aborted) {
      const askedMs = clock.steady();
      if (await this.#tried(signal)) {
        this.#renewedMs = askedMs;
        logger.info({ identity }, 'leading');
        await this.#hold(lead, signal);
        logger.info({ identity }, 'no longer leading');
      } else await pause(clock, this.#times.retryMs * (0.8 + Math.random() * 0.4), signal);
    }
  }

  async #hold(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    const lost = new AbortController();
    const either = AbortSignal.any([signal, lost.signal]);
    const leading = lead(either).finally(() => lost.abort());
    while (!either.aborted) {
      const leftMs = this.#renewedMs + this.#times.renewWithinMs - clock.steady();
      if (leftMs <= 0) {
        logger.error(
          { forMs: clock.steady() - this.#renewedMs },
          'the lease could not be renewed; leading no more',
        );
        lost.abort();
        break;
      }
      await pause(clock, Math.min(leftMs, this.#times.retryMs), either);
      if (either.aborted) break;
      const askedMs = clock.steady();
      if (await this.#tried(either)) this.#renewedMs = askedMs;
      else if (this.leader !== undefined && this.leader.identity !== this.#options.identity) {
        logger.error({ leader: this.leader.identity }, 'another replica took the lease');
        lost.abort();
      }
    }
    try {
      await leading;
    } finally {
      await this.#release();
    }
  }

  /** True when the lease is ours, taken or renewed just now. Trouble with the store is no, and is tried again. */
  async #tried(signal: AbortSignal): Promise<boolean> {
    const { clock, logger } = this.#options;
    const late = new AbortController();
    using _timer = clock.after(this.#times.renewWithinMs, () => late.abort());
    try {
      return await this.#takeOrRenew(AbortSignal.any([signal, late.signal]));
    } catch (error) {
      if (signal.aborted) return false;
      if (!late.signal.aborted && !isStoreError(error)) throw error;
      if (!isStoreError(error, 'Conflict', 'AlreadyExists'))
        logger.warn({ err: error, lease: this.#options.lease }, 'the lease could not be read or written');
      return false;
    }
  }

  async #takeOrRenew(signal: AbortSignal): Promise<boolean> {
    const { store, lease: key, identity } = this.#options;
    // Who holds it need not ask first.
    const held = this.#seen?.spec?.holderIdentity === identity ? this.#seen : undefined;
    const lease = held ?? (await this.#read(signal));
    if (lease === undefined) {
      const { namespace = 'default', name } = key;
      const metadata = { namespace, name, annotations: { ...this.#options.about } };
      const made = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata,
        spec: this.#specOf(undefined),
      };
      this.#note(await store.create<Lease>(builtinTypes.lease, made, signal));
      return true;
    }
    this.#note(lease);
    const holder = lease.spec?.holderIdentity ?? '';
    const expiresMs = this.#seenMs + (lease.spec?.leaseDurationSeconds ?? 0) * 1000;
    if (holder !== '' && holder !== identity && this.#options.clock.steady() < expiresMs) return false;
    const annotations = { ...lease.metadata.annotations, ...this.#options.about };
    const next: Lease = { ...lease, metadata: { ...lease.metadata, annotations }, spec: this.#specOf(lease) };
    try {
      this.#note(await store.update<Lease>(builtinTypes.lease, next, signal));
    } catch (error) {
      const now = await this.#read(signal);
      if (now) this.#note(now);
      throw error;
    }
    return true;
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await this.#options.store.get<Lease>(builtinTypes.lease, this.#options.lease, signal);
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  #note(lease: Lease): void {
    const [before, now] = [this.#seen?.metadata.resourceVersion, lease.metadata.resourceVersion];
    if (before === now) return;
    const sameLease = this.#seen?.metadata.uid === lease.metadata.uid;
    if (sameLease && Number(now) < Number(before)) this.#options.wentBack?.(before ?? '', now ?? '');
    this.#seen = lease;
    this.#seenMs = this.#options.clock.steady();
  }

  #specOf(before: Lease | undefined): NonNullable<Lease['spec']> {
    const { identity, clock } = this.#options;
    const now = new Date(clock.now()).toISOString().replace(/Z$/, '000Z');
    const ours = before?.spec?.holderIdentity === identity;
    const transitions = before?.spec?.leaseTransitions ?? 0;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(this.#times.leaseMs / 1000),
      acquireTime: ours ? (before.spec?.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: ours || before === undefined ? transitions : transitions + 1,
    };
  }

  /** Best effort: without it the others wait for the lease to expire. */
  async #release(): Promise<void> {
    const { store, identity, logger, clock } = this.#options;
    const lease = this.#seen;
    if (lease?.spec?.holderIdentity !== identity) return;
    const late = new AbortController();
    using _timer = clock.after(this.#times.retryMs, () => late.abort());
    try {
      const spec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1 };
      this.#note(await store.update<Lease>(builtinTypes.lease, { ...lease, spec }, late.signal));
    } catch (error) {
      logger.warn({ err: error }, 'the lease was not given back; another replica takes it when it expires');
    }
  }
}
