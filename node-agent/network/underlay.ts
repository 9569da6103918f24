// What of this node's own network matters to job networks: by which link other nodes are reached and how much it carries, where
// packets leave by, and which addresses are in use already. Looked at anew each time; nothing is kept.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Native } from '../../native/addon/index.ts';
import { hostPath } from '../host-root.ts';
import { Links } from './links.ts';

export interface Underlay {
  /** Of the link that has this address; 0: none has. */
  readonly mtu: number;
  /** IPv4 destinations but the default one, as ADDRESS/LENGTH, those of job networks left out. */
  readonly routes: readonly string[];
}

const mostRoutes = 512;
export const isJobLink = (name: string): boolean => /^m[bvsw][0-9a-z]{13}$/.test(name);

export async function underlayOf(native: Native, address: string): Promise<Underlay> {
  await using links = new Links(native, -1);
  const all = await links.list();
  const name = linkWith(address);
  const jobLinks = new Set(all.filter((link) => isJobLink(link.name)).map(({ index }) => index));
  const routes = (await links.routes())
    .filter(({ destination, outInterface }) => destination !== '0.0.0.0/0' && !jobLinks.has(outInterface))
    .map(({ destination }) => destination);
  const link = all.find((each) => each.name === name);
  return { mtu: link?.mtu ?? 0, routes: [...new Set(routes)].slice(0, mostRoutes) };
}

function linkWith(address: string): string | undefined {
  return Object.entries(networkInterfaces()).find(([, addresses]) =>
    addresses?.some((each) => each.address === address),
  )?.[0];
}

/** Links by which packets leave this node: all that have an address, but job networks' own. */
export function uplinks(): string[] {
  return Object.entries(networkInterfaces())
    .filter(([name, addresses]) => !isJobLink(name) && addresses?.some((each) => !each.internal) === true)
    .map(([name]) => name);
}

export type Family = 'ipv4' | 'ipv6';

/** Whether this machine forwards between all its links anyway. */
export const forwardsAll = (family: Family): boolean =>
  read(family === 'ipv4' ? 'ipv4/ip_forward' : 'ipv6/conf/all/forwarding') === '1';

/** IPv6 is there, and packets can be sent on without the whole machine becoming a router, which would take no more advice from one (RFC 4861). */
export const canForwardSix = (): boolean =>
  read('ipv6/conf/default/disable_ipv6') === '0' &&
  (forwardsAll('ipv6') || read('ipv6/conf/lo/force_forwarding') !== null);

/** Has packets that come in by this link sent on; no other link is touched. */
export function forwardFrom(link: string, family: Family, on: boolean): void {
  if (family === 'ipv6' && forwardsAll('ipv6')) return;
  const file = `${settings}/${family}/conf/${link}/${family === 'ipv4' ? 'forwarding' : 'force_forwarding'}`;
  // In a container /proc/sys is read-only; the node's own is not.
  if (existsSync(file)) writeFileSync(hostPath(file), on ? '1' : '0');
}

const settings = '/proc/sys/net';
/** Null: this kernel does not have it. */
const read = (name: string): string | null =>
  existsSync(`${settings}/${name}`) ? readFileSync(`${settings}/${name}`, 'utf8').trim() : null;
