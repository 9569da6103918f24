/**
 * The job networks that a cluster can have at once: an address range cut into four classes by size, each network in it with a
 * number of its own. Subnet and VNI follow from the number alone, so that whoever has taken the number has taken both. Pure.
 */
import { createHash } from 'node:crypto';
import { dotted, overlaps, parseSubnet, roomOf, type Subnet } from '../../wire/job-addresses.ts';

/** Shared address space (RFC 6598): on no host's own network, and few use it within. */
export const defaultPool = '100.64.0.0/10';

/** How long the subnets of each class are. A class has a quarter of the pool. */
const prefixes = [28, 24, 20, 16] as const;
const indexBits = 16;
const firstPort = 20_000;
const ports = 10_000;

export interface NetworkClaim {
  /** Class and place in it: unique in the cluster. */
  readonly number: number;
  readonly subnet: string;
  readonly vni: number;
}

export interface NetworkPool {
  readonly subnet: Subnet;
  /** Of all networks of this cluster: another's on the same wire mostly differ. */
  readonly vniBits: number;
  /** UDP port of the tunnels. */
  readonly port: number;
}

/** Throws RangeError for what is no range of addresses, or too small for any network. */
export function networkPoolOf(clusterId: string, range = defaultPool): NetworkPool {
  const subnet = parseSubnet(range);
  if (subnet.prefix > prefixes[0] - 2)
    throw new RangeError(
      `${range} has no room for job networks: expected a length of at most ${prefixes[0] - 2}`,
    );
  const hash = createHash('sha256').update(clusterId).digest();
  return {
    subnet,
    vniBits: 1 + (hash.readUInt8(0) % 63),
    port: firstPort + (hash.readUInt32BE(1) % ports),
  };
}

/** The smallest class that holds so many sandboxes; undefined when none does. */
export function classFor(sandboxes: number): number | undefined {
  const found = prefixes.findIndex((prefix) => roomOf({ first: 0, prefix }) >= sandboxes);
  return found < 0 ? undefined : found;
}

/** How many networks of a class there are. */
export function sizeOfClass({ subnet }: NetworkPool, kind: number): number {
  const bits = prefixes[kind]! - subnet.prefix - 2;
  return bits < 0 ? 0 : 2 ** Math.min(bits, indexBits);
}

export function claimAt(pool: NetworkPool, kind: number, index: number): NetworkClaim {
  const prefix = prefixes[kind]!;
  const first = pool.subnet.first + kind * 2 ** (30 - pool.subnet.prefix) + index * 2 ** (32 - prefix);
  const number = kind * 2 ** indexBits + index;
  return { number, subnet: `${dotted(first)}/${prefix}`, vni: pool.vniBits * 2 ** 18 + number };
}

/** Of the network that has this VNI. */
export const numberOf = (vni: number): number => vni % 2 ** 18;

/** Undefined for what is no network of this pool. */
export function claimOf(pool: NetworkPool, number: number): NetworkClaim | undefined {
  const [kind, index] = [Math.floor(number / 2 ** indexBits), number % 2 ** indexBits];
  if (!Number.isSafeInteger(number) || kind < 0 || kind >= prefixes.length) return undefined;
  return index < sizeOfClass(pool, kind) ? claimAt(pool, kind, index) : undefined;
}

/**
 * The next free network of a class after `after` that none of these routes crosses, so that one that was given back is taken
 * again as late as can be; undefined when there is none.
 */
export function nextFree(
  pool: NetworkPool,
  kind: number,
  after: number,
  isTaken: (number: number) => boolean,
  routes: readonly string[],
): NetworkClaim | undefined {
  const size = sizeOfClass(pool, kind);
  for (let step = 1; step <= size; step++) {
    const claim = claimAt(pool, kind, (after + step) % size);
    if (!isTaken(claim.number) && !routes.some((route) => overlaps(route, claim.subnet))) return claim;
  }
  return undefined;
}
