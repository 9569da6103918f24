/**
 * Who has which job network: a Lease for each that is taken, named by its number, held by the uid of a group. Whoever creates the
 * object has the network, whatever others believe at the time; a leader that comes finds what was taken before. Networks of
 * groups that are gone are given back.
 */
import type { Logger } from 'pino';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError, type KubernetesObject, type ObjectStore } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';
import { overlaps, parseSubnet, roomOf } from '../../wire/job-addresses.ts';
import {
  claimOf,
  classFor,
  nextFree,
  numberOf,
  sizeOfClass,
  whyNone,
  type NetworkClaim,
  type NetworkPool,
  type Reserved,
} from './pool.ts';

interface Lease extends KubernetesObject {
  spec?: { holderIdentity?: string };
}

export interface NetworkClaimsOptions {
  readonly store: ObjectStore;
  readonly logger: Logger;
  readonly pool: NetworkPool;
  /** What no network of the cluster may cross, whatever its nodes. */
  readonly reserved?: (signal: AbortSignal) => Promise<readonly Reserved[]>;
  /** Where the Leases are. */
  readonly namespace: string;
  /** Where in each class to begin, from 0 to below 1. */
  readonly begin?: () => number;
}

/** What a group had before serves it again. */
const fits = ({ subnet }: NetworkClaim, sandboxes: number, others: readonly Reserved[]): boolean =>
  roomOf(parseSubnet(subnet)) >= sandboxes && !others.some(({ range }) => overlaps(range, subnet));

const prefix = 'muster-network-';
const nameOf = (number: number): string => `${prefix}${number}`;

export class NetworkClaims {
  readonly #options: NetworkClaimsOptions;
  readonly #byUid = new Map<string, NetworkClaim>();
  readonly #taken = new Set<number>();
  /** Whether the Lease of a network just taken became ours, by uid. */
  readonly #creating = new Map<string, Promise<boolean>>();
  /** The place taken last in each class. */
  readonly #last = new Map<number, number>();
  readonly #loaded = Promise.withResolvers<void>();
  #isLoading = false;

  constructor(options: NetworkClaimsOptions) {
    this.#options = options;
  }

  get pool(): NetworkPool {
    return this.#options.pool;
  }

  /**
   * The group's network, taken now unless it has one; a text that says why there is none. The group may use it once `held` says
   * so, and may be told of it before.
   */
  async take(
    group: ProcessGroup,
    sandboxes: number,
    routes: readonly Reserved[],
    signal: AbortSignal,
    same?: { readonly subnet: string; readonly vni: number },
  ): Promise<NetworkClaim | string> {
    await this.#load(signal);
    const { pool, reserved } = this.#options;
    const { uid = '' } = group.metadata;
    if (same) return this.#byUid.get(uid) ?? this.#takeSame(same, group, signal);
    const kind = classFor(sandboxes);
    if (kind === undefined) return `no job network has room for ${sandboxes} sandboxes: use network Host`;
    const others = [...((await reserved?.(signal)) ?? []), ...routes];
    const own = this.#byUid.get(uid);
    if (own && fits(own, sandboxes, others)) return own;
    // Of a run before, which had fewer sandboxes or other nodes.
    if (own) await this.release(uid, signal);
    const claim = this.#firstFree(kind, others);
    if (!claim) return whyNone(pool, kind, sandboxes, others);
    this.#hold(group, claim, signal);
    return claim;
  }

  /** Of the class, or else of a larger one. */
  #firstFree(least: number, others: readonly Reserved[]): NetworkClaim | undefined {
    const { pool, begin = Math.random } = this.#options;
    const ranges = others.map(({ range }) => range);
    for (let kind = least; sizeOfClass(pool, kind) > 0; kind++) {
      const after = this.#last.get(kind) ?? Math.floor(begin() * sizeOfClass(pool, kind));
      const claim = nextFree(pool, kind, after, (number) => this.#taken.has(number), ranges);
      if (!claim) continue;
      this.#last.set(kind, claim.number % 2 ** 16);
      return claim;
    }
    return undefined;
  }

  /** A group that was told of its network by a leader that ended before it had it. */
  async retake(group: ProcessGroup, signal: AbortSignal): Promise<void> {
    await this.#load(signal);
    const { metadata, status } = group;
    if (this.#byUid.has(metadata.uid ?? '') || !status?.network) return;
    const claim = claimOf(this.pool, numberOf(status.network.vni));
    if (claim?.subnet === status.network.subnet) this.#hold(group, claim, signal);
  }

  #hold(group: ProcessGroup, claim: NetworkClaim, signal: AbortSignal): void {
    const { uid = '' } = group.metadata;
    this.#taken.add(claim.number);
    this.#byUid.set(uid, claim);
    const creating = this.#create(claim, group, signal);
    creating.catch(() => undefined); // `held` tells
    this.#creating.set(uid, creating);
  }

  /** Resolves when the group's network is on record as its own; to false when somebody else has it: take another. */
  async held(uid: string): Promise<boolean> {
    const creating = this.#creating.get(uid);
    if (!creating) return true;
    this.#creating.delete(uid);
    const claim = this.#byUid.get(uid);
    try {
      const isOurs = await creating;
      if (!isOurs) this.#byUid.delete(uid);
      return isOurs;
    } catch (error) {
      this.#byUid.delete(uid);
      if (claim) this.#taken.delete(claim.number);
      throw error;
    }
  }

  /** Of ranks that have their addresses already. */
  #takeSame(
    { subnet, vni }: { readonly subnet: string; readonly vni: number },
    group: ProcessGroup,
    signal: AbortSignal,
  ): NetworkClaim | string {
    const claim = claimOf(this.pool, numberOf(vni));
    if (claim?.subnet !== subnet)
      return `the ranks have addresses in ${subnet}, which is none of this cluster's networks any more`;
    if (this.#taken.has(claim.number))
      return `the ranks have addresses in ${subnet}, which another group uses now: wait until it has ended`;
    this.#hold(group, claim, signal);
    return claim;
  }

  /** Nothing is left of the group's network on any node, or its nodes are lost. */
  async release(uid: string, signal?: AbortSignal): Promise<void> {
    const claim = this.#byUid.get(uid);
    if (!claim || !(await this.held(uid))) return;
    const key = { namespace: this.#options.namespace, name: nameOf(claim.number) };
    try {
      await this.#options.store.delete(builtinTypes.lease, key, {}, signal);
    } catch (error) {
      if (!isStoreError(error, 'NotFound')) throw error;
    }
    this.#byUid.delete(uid);
    this.#taken.delete(claim.number);
  }

  /** Gives back what groups had that need it no more. */
  async keepOnly(needs: (uid: string) => boolean, signal: AbortSignal): Promise<void> {
    await this.#load(signal);
    for (const uid of [...this.#byUid.keys()]) if (!needs(uid)) await this.release(uid, signal);
  }

  /** False when somebody else has it. */
  async #create(claim: NetworkClaim, group: ProcessGroup, signal: AbortSignal): Promise<boolean> {
    const { store, namespace } = this.#options;
    const lease: Lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { namespace, name: nameOf(claim.number) },
      spec: { holderIdentity: group.metadata.uid ?? '' },
    };
    try {
      await store.create<Lease>(builtinTypes.lease, lease, signal);
      return true;
    } catch (error) {
      if (!isStoreError(error, 'AlreadyExists')) throw error;
      const key = { namespace, name: nameOf(claim.number) };
      const found = await store.get<Lease>(builtinTypes.lease, key, signal);
      return found.spec?.holderIdentity === group.metadata.uid;
    }
  }

  async #load(signal: AbortSignal): Promise<void> {
    if (this.#isLoading) return this.#loaded.promise;
    this.#isLoading = true;
    const { store, namespace, pool, logger } = this.#options;
    try {
      const { items } = await store.list<Lease>(builtinTypes.lease, { namespace }, signal);
      for (const { metadata, spec } of items) {
        const name = metadata.name ?? '';
        if (!name.startsWith(prefix)) continue;
        const claim = claimOf(pool, Number(name.slice(prefix.length)));
        if (!claim) {
          logger.warn({ lease: name }, 'network of another pool is left alone');
          continue;
        }
        this.#taken.add(claim.number);
        if (spec?.holderIdentity) this.#byUid.set(spec.holderIdentity, claim);
      }
      this.#loaded.resolve();
    } catch (error) {
      this.#isLoading = false;
      throw error;
    }
  }
}
