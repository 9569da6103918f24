/**
 * The nodes of a group as lines of hosts(5), which every sandbox of it finds in its /etc/hosts: the address at which ranks
 * reach the node, its name, and `GROUP-ORDINAL` for each sandbox there. Pure.
 */
import { isIP } from 'node:net';
import type { Entry } from './desired-book.ts';

/** undefined while some node of the group has not said where it is. `peerAddressOf` gives host:port. */
export function groupHostsOf(
  entries: readonly Entry[],
  peerAddressOf: (node: string) => string | undefined,
): string | undefined {
  const byNode = Map.groupBy(entries, ({ node }) => node);
  const lines: string[] = [];
  for (const [node, sandboxes] of byNode) {
    const peer = peerAddressOf(node);
    if (peer === undefined) return undefined;
    const address = peer.replace(/:\d*$/, '').replace(/^\[|\]$/g, '');
    if (isIP(address) === 0) continue; // a name is for DNS to resolve
    const aliases = sandboxes.map(({ spec }) => `${spec.groupName ?? ''}-${spec.id.ordinal}`);
    lines.push(`${address} ${[node, ...aliases].join(' ')}\n`);
  }
  return lines.join('');
}
