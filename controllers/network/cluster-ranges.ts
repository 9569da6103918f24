/**
 * Addresses that no job network may cross, whatever its nodes: those that the administrator names, and on Kubernetes those of Services
 * and Pods. The API server is asked when a network is taken, at most twice a minute. It does not know what networks there are.
 */
import { isIPv4 } from 'node:net';
import type { Logger } from 'pino';
import { isStoreError, type KubernetesObject, type ObjectStore } from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';
import { dotted, parseRange } from '../../wire/job-addresses.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Reserved } from './pool.ts';

export const serviceRangeType = {
  group: 'networking.k8s.io',
  version: 'v1',
  kind: 'ServiceCIDR',
  plural: 'servicecidrs',
  namespaced: false,
} as const satisfies ResourceType;

export const serviceType = {
  group: '',
  version: 'v1',
  kind: 'Service',
  plural: 'services',
  namespaced: true,
} as const satisfies ResourceType;

interface ServiceRange extends KubernetesObject {
  readonly spec?: { readonly cidrs?: readonly string[] };
}

interface Service extends KubernetesObject {
  readonly spec?: { readonly clusterIPs?: readonly string[]; readonly clusterIP?: string };
}

export interface ClusterRangesOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly given: readonly string[];
  /** Of a Kubernetes cluster. */
  readonly cluster?: { readonly store: ObjectStore; readonly podRanges: () => Iterable<Reserved> };
}

const lookEveryMs = 30_000;
/** The API server takes none that is larger. */
const longestServiceRange = 12;

export class ClusterRanges {
  readonly #options: ClusterRangesOptions;
  #services: readonly Reserved[] = [];
  #lookedMs: number | undefined;

  constructor(options: ClusterRangesOptions) {
    this.#options = options;
  }

  /** Those by IPv4, which is what job networks are taken by. */
  async all(signal: AbortSignal): Promise<Reserved[]> {
    const { given, cluster } = this.#options;
    const own = given.map((range) => ({ range, of: 'reserved' }));
    if (!cluster) return own;
    await this.#look(cluster.store, signal);
    return [...own, ...this.#services, ...cluster.podRanges()].filter(isByIPv4);
  }

  async #look(store: ObjectStore, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    const nowMs = clock.steady();
    if (this.#lookedMs !== undefined && nowMs - this.#lookedMs < lookEveryMs) return;
    try {
      this.#services = await serviceRanges(store, signal);
    } catch (error) {
      if (!isStoreError(error, 'Forbidden')) throw error;
      if (this.#lookedMs === undefined)
        logger.warn({ err: error }, 'ranges of Services cannot be read; name them with --reserved-ranges');
    }
    this.#lookedMs = nowMs;
  }
}

const isByIPv4 = ({ range }: Reserved): boolean => isIPv4(range.split('/')[0] ?? '');

/** A cluster before 1.33 does not tell of its range; its own Service has the first address of it. */
async function serviceRanges(store: ObjectStore, signal: AbortSignal): Promise<Reserved[]> {
  try {
    const { items } = await store.list<ServiceRange>(serviceRangeType, {}, signal);
    const ranges = items.flatMap(({ spec }) => spec?.cidrs ?? []);
    if (ranges.length > 0) return ranges.map((range) => ({ range, of: 'Services' }));
  } catch (error) {
    if (!isStoreError(error, 'NotFound')) throw error;
  }
  try {
    const key = { namespace: 'default', name: 'kubernetes' };
    const { spec } = await store.get<Service>(serviceType, key, signal);
    const addresses = spec?.clusterIPs ?? (spec?.clusterIP === undefined ? [] : [spec.clusterIP]);
    return addresses
      .filter((address) => isIPv4(address))
      .map((address) => ({ range: rangeFrom(address), of: 'Services, at most' }));
  } catch (error) {
    if (!isStoreError(error, 'NotFound')) throw error;
    return [];
  }
}

/** The longest range that has this as its second address. */
export function rangeFrom(second: string): string {
  const { first } = parseRange(`${second}/32`);
  for (let prefix = longestServiceRange; prefix < 32; prefix++)
    if ((first - 1) % 2 ** (32 - prefix) === 0) return `${dotted(first - 1)}/${prefix}`;
  return `${second}/32`;
}
