/**
 * The nodes of a group as lines of hosts(5), which every sandbox of it finds in its /etc/hosts: the address at which ranks
 * reach the node, its name, and `GROUP-ORDINAL` for each sandbox there. In a network of its own each sandbox has a line. Pure.
 */
import { isIP } from 'node:net';
import { hostOf } from '../../wire/endpoint.ts';
import { addressOf, addressSixOf, parseSubnet } from '../../wire/job-addresses.ts';
import type { Entry } from './desired-book.ts';

const nameMost = 63;

/** GROUP-ORDINAL, the group's name cut where the whole would be no host name (RFC 1123). */
export function sandboxNameOf(groupName: string, ordinal: number): string {
  const end = `-${ordinal}`;
  return `${groupName.slice(0, nameMost - end.length).replace(/[-.]+$/, '')}${end}`;
}

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
    const own = sandboxes.flatMap(({ spec }) => {
      const name = sandboxNameOf(spec.groupName ?? '', spec.id.ordinal);
      return ownAddressesOf(spec).map((address) => `${address} ${name}\n`);
    });
    lines.push(...own);
    if (own.length > 0) continue;
    const address = hostOf(peer);
    if (isIP(address) === 0) continue; // a name is for DNS to resolve
    const aliases = sandboxes.map(({ spec }) => sandboxNameOf(spec.groupName ?? '', spec.id.ordinal));
    lines.push(`${address} ${[node, ...aliases].join(' ')}\n`);
  }
  return lines.join('');
}

/** On the job's network, or its Pod's; none where it has the node's. */
function ownAddressesOf({ id, network, carrier }: Entry['spec']): string[] {
  if (!network?.subnet) return carrier?.address ? [carrier.address] : [];
  const ip = addressOf(parseSubnet(network.subnet), id.ordinal);
  return network.subnet6 ? [ip, addressSixOf(network.subnet6, ip)] : [ip];
}
