// From a sandbox's spec to the network of its group: the form in which the hub tells of it taken apart. Pure. Null where the
// sandbox has the node's own network.
import { RankSet } from '../../crds/rank-set.ts';
import { addressOf, parseSubnet } from '../../wire/job-addresses.ts';
import type { SandboxSpec } from '../../wire/agent-types.ts';
import { encrypted } from '../../wire/encryption.ts';
import type { GroupNetwork } from './job-network.ts';

export function groupNetworkOf(spec: SandboxSpec): GroupNetwork | null {
  if (!spec.network || !spec.id) return null;
  const { members, encryption, ...network } = spec.network;
  return {
    ...network,
    isEncrypted: encryption === encrypted,
    groupUid: spec.id.groupUid,
    title: `${spec.namespace}/${spec.groupName}`,
    members: members.map(({ address, ordinals, key }) => ({
      node: address,
      key,
      ordinals: [...RankSet.parse(ordinals)],
    })),
  };
}

/** The sandbox's own address; null where it is the node's. */
export function networkAddressOf({ network, id }: SandboxSpec): string | null {
  return network && id ? addressOf(parseSubnet(network.subnet), id.ordinal) : null;
}
