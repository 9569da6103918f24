/**
 * The job networks that a cluster can have at once: an address range cut into four classes by size, each network in it with a
 * number of its own. Subnet and VNI follow from the number alone, so that whoever has taken the number has taken both. Pure.
 */
import { createHash } from 'node:crypto';
import { dotted, overlaps, parseRange, parseSubnet, roomOf, type Subnet } from '../../wire/job-addresses.ts';
import { tunnelPortOf } from '../../wire/tunnel-port.ts';

/** Shared address space (RFC 6598): on no host's own network, and few use it within. */
export const defaultPool = '100.64.0.0/10';

/** How long the subnets of each class are. A class has a quarter of the pool. */
const prefixes = [28, 24, 20, 16] as const;
const indexBits = 16;

export interface NetworkClaim {
  /** Class and place in it: unique in the cluster. */
  readonly number: number;
  readonly subnet: string;
  readonly vni: number;
}

/** Addresses that something else has. */
export interface Reserved {
  /** ADDRESS/LENGTH */
  readonly range: string;
  /** Whose they are, for people. */
  readonly of: string;
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
    port: tunnelPortOf(clusterId),
  };
}

/** The smallest class that holds so many sandboxes; undefined when none does. */
export function classFor(sandboxes: number): number | undefined {
  const found = prefixes.findIndex((prefix) => roomOf({ first: 0, prefix }) >= sandboxes);
  return found < 0 ? undefined : found;
}

/** How many networks of a class there are; 0 beyond the last class. */
export function sizeOfClass({ subnet }: NetworkPool, kind: number): number {
  const bits = (prefixes[kind] ?? 0) - subnet.prefix - 2;
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

/** The part of the pool that the networks of a class are cut from. */
export function rangeOfClass(pool: NetworkPool, kind: number): string {
  const prefix = pool.subnet.prefix + 2;
  return `${dotted(pool.subnet.first + kind * 2 ** (32 - prefix))}/${prefix}`;
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
  const part = rangeOfClass(pool, kind);
  const reserved = spansOf(size === 0 ? [] : routes.filter((route) => overlaps(route, part)));
  for (let step = 1; step <= size; step++) {
    const claim = claimAt(pool, kind, (after + step) % size);
    if (isTaken(claim.number)) continue;
    const { first, end } = spanOf(claim.subnet);
    if (!reserved.some((span) => span.first < end && first < span.end)) return claim;
  }
  return undefined;
}

/** From the first address to before the last. */
interface Span {
  readonly first: number;
  readonly end: number;
}

function spanOf(range: string): Span {
  const { first, prefix } = parseRange(range);
  return { first, end: first + 2 ** (32 - prefix) };
}

/** Those that touch are one: a cluster has as many ranges of Pods as nodes. */
function spansOf(ranges: readonly string[]): Span[] {
  const spans: Span[] = [];
  for (const span of ranges.map(spanOf).sort((a, b) => a.first - b.first)) {
    const last = spans.at(-1);
    if (last && span.first <= last.end)
      spans[spans.length - 1] = { first: last.first, end: Math.max(last.end, span.end) };
    else spans.push(span);
  }
  return spans;
}

const namedMost = 3;

/** Why no network of this class, or of a larger one, is free; the cure with it. */
export function whyNone(
  pool: NetworkPool,
  kind: number,
  sandboxes: number,
  reserved: readonly Reserved[],
): string {
  const parts = prefixes.map((_, each) => rangeOfClass(pool, each)).slice(kind);
  const crossing = reserved.filter(({ range }) => parts.some((part) => overlaps(range, part)));
  const named = crossing.slice(0, namedMost).map(({ range, of }) => `${range} (${of})`);
  const more = crossing.length > namedMost ? ` and ${crossing.length - namedMost} more` : '';
  const others = named.length === 0 ? '' : `, or cross ${named.join(', ')}${more}`;
  const apart = named.length === 0 ? 'a larger --network-pool' : 'a --network-pool apart from these';
  return `all job networks for ${sandboxes} sandboxes are taken${others}: wait for groups to end, give the control plane ${apart}, or use network Host`;
}
