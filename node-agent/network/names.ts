// Names of what the job network leaves on a node, at most 15 characters (IFNAMSIZ): "mb" bridge, "mv" VXLAN device, "mw" what
// encrypts, "ms" a sandbox's end, then who it belongs to, then which it is. Whoever starts can tell from a name alone what is his, and what it
// was for from the list of what there should be.
import { createHash } from 'node:crypto';

const ownerDigits = 4;
const keyDigits = 9;

function digits(text: string, count: number): string {
  const number = createHash('sha256').update(text).digest().readBigUInt64BE(0);
  return number.toString(36).padStart(count, '0').slice(-count);
}

/** Agents of one cluster on one machine share a group's bridge and VXLAN device. */
export interface NetworkNames {
  bridge(groupUid: string): string;
  vxlan(groupUid: string): string;
  /** Of one agent alone. */
  port(sandboxKey: string): string;
  /** The WireGuard device of one agent. */
  readonly sealed: string;
  /** Number by which the links that this agent has made for a group go together; far beyond those that people choose. */
  linkGroup(groupUid: string): number;
  isBridge(name: string): boolean;
  isVxlan(name: string): boolean;
  isOwnPort(name: string): boolean;
  isAnyPort(name: string): boolean;
  /** Of any cluster. */
  isAnyBridge(name: string): boolean;
  /** Fits all bridges of this cluster, in the words of nft(8). */
  readonly bridgePattern: string;
  /** And its WireGuard devices. */
  readonly sealedPattern: string;
  readonly table: string;
  /** What an agent has a group's packets spared the bridge by: a table too. */
  shortCuts(groupUid: string): string;
  isOwnShortCuts(table: string): boolean;
}

export function networkNames(clusterId: string, node: string): NetworkNames {
  const cluster = digits(clusterId, ownerDigits);
  const agent = digits(`${clusterId}/${node}`, ownerDigits);
  const own = `ms${agent}`;
  return {
    bridge: (groupUid) => `mb${cluster}${digits(groupUid, keyDigits)}`,
    vxlan: (groupUid) => `mv${cluster}${digits(groupUid, keyDigits)}`,
    port: (sandboxKey) => `${own}${digits(sandboxKey, keyDigits)}`,
    linkGroup: (groupUid) =>
      0x40000000 + (createHash('sha256').update(`${own}/${groupUid}`).digest().readUInt32BE(0) % 0x3fffffff),
    isBridge: (name) => name.startsWith(`mb${cluster}`),
    isVxlan: (name) => name.startsWith(`mv${cluster}`),
    isOwnPort: (name) => name.startsWith(own),
    isAnyPort: (name) => /^ms[0-9a-z]{13}$/.test(name),
    isAnyBridge: (name) => /^mb[0-9a-z]{13}$/.test(name),
    sealed: `mw${cluster}${digits(node, keyDigits)}`,
    bridgePattern: `mb${cluster}*`,
    sealedPattern: `mw${cluster}*`,
    table: `muster_${cluster}`,
    shortCuts: (groupUid) => `muster_${agent}_${digits(groupUid, keyDigits)}`,
    isOwnShortCuts: (table) => table.startsWith(`muster_${agent}_`),
  };
}
