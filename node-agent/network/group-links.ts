// The links of one group on a node, as changes to what is there: its bridge, and the tunnel to other nodes with an entry for every
// sandbox behind it. What may be half made is made whole. Pure.
import { addressOf, addressSixOf, gatewayOf, macOf, parseSubnet } from '../../wire/job-addresses.ts';
import type { GroupNetwork, NetworkMember } from './job-network.ts';
import {
  addAddress, addBridge, addVxlan, setAlias, setForwarding, setMaster, setRemote, setStaticPort, setUp, type Change,
} from './link-changes.ts'; // prettier-ignore

export const aliasOfBridge = (title: string): string => `muster: network of ${title}`;
export const aliasOfPort = (text: string): string => `muster: sandbox ${text}`;

/** One that is there may be half made: by another agent of this machine, or one that was killed. */
export function bridging(
  name: string,
  { subnet: text, subnet6, mtu, title }: GroupNetwork,
  linkGroup: number,
  leavesBySix: boolean,
): Change[] {
  const subnet = parseSubnet(text);
  const gateway = gatewayOf(subnet);
  return [
    addBridge(name, macOf(gateway), mtu, linkGroup),
    setAlias(name, aliasOfBridge(title)),
    addAddress(name, gateway, subnet.prefix),
    ...(leavesBySix ? [addAddress(name, addressSixOf(subnet6, gateway), 64)] : []),
    setUp(name),
  ];
}

export function tunnelling(
  name: string,
  bridge: string,
  local: string,
  { subnet: text, mtu, title, vni, port }: GroupNetwork,
  elsewhere: readonly NetworkMember[],
  linkGroup: number,
): Change[] {
  const subnet = parseSubnet(text);
  const remotes = elsewhere.flatMap(({ node, ordinals }) =>
    ordinals.flatMap((ordinal) => {
      const mac = macOf(addressOf(subnet, ordinal));
      return [setRemote(name, mac, node), setForwarding(name, mac)];
    }),
  );
  return [
    addVxlan({ name, vni, port, local, mtu, group: linkGroup }),
    setAlias(name, `muster: tunnel of ${title}`),
    setMaster(name, bridge),
    setStaticPort(name),
    setUp(name),
    ...remotes,
  ];
}
