/**
 * The network of a group as its agents have to know it: on which nodes its sandboxes are, and how much a packet may carry on the
 * way between any two of them. Pure.
 */
import { isIPv6 } from 'node:net';
import { RankSet } from '../../crds/rank-set.ts';
import type { AgentHello, JobNetwork, Sent } from '../../wire/agent-types.ts';
import { encrypted } from '../../wire/encryption.ts';
import { hostOf } from '../../wire/endpoint.ts';
import { mtuOver } from '../../wire/job-addresses.ts';
import type { Entry } from './desired-book.ts';

/** Where the link of a node is not known. */
const usualMtu = 1500;

type Told = Pick<AgentHello, 'peerAddress' | 'underlayMtu' | 'networkKey'>;
export type MembersOfNetwork = Required<Pick<Sent<JobNetwork>, 'mtu' | 'members'>>;

/** undefined while some node of the group has not said where it is. */
export function groupNetworkOf(
  entries: readonly Entry[],
  helloOf: (node: string) => Told | undefined,
): MembersOfNetwork | undefined {
  const ordinals = new Map<string, number[]>();
  const keys = new Map<string, string>();
  const isEncrypted = entries[0]?.spec.network?.encryption === encrypted;
  let mtu = Infinity;
  for (const [node, sandboxes] of Map.groupBy(entries, (entry) => entry.node)) {
    const hello = helloOf(node);
    if (hello === undefined) return undefined;
    const address = hostOf(hello.peerAddress);
    const here = sandboxes.map(({ spec }) => spec.id.ordinal);
    ordinals.set(address, [...(ordinals.get(address) ?? []), ...here]);
    if (isEncrypted && !keys.has(address)) keys.set(address, hello.networkKey);
    const carried = hello.underlayMtu > 0 ? hello.underlayMtu : usualMtu;
    mtu = Math.min(mtu, mtuOver(carried, isIPv6(address), isEncrypted));
  }
  return {
    mtu,
    members: [...ordinals].map(([address, all]) => ({
      address,
      ordinals: RankSet.from(all).toString(),
      ...(isEncrypted ? { key: keys.get(address) } : {}),
    })),
  };
}
