// What can be done to links, addresses and where they are, as rtnetlink messages (rtnetlink(7)), pure: several of them go to
// the kernel together (links.ts), which is why a link's index follows from its name and need not be asked for.
import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { addressBytes, macBytes } from '../../wire/job-addresses.ts';
import { encodeAttributes, flags, type Attribute, type Message } from './netlink.ts';

const type = { newLink: 16, delLink: 17, newAddress: 20, newRoute: 24, newNeighbour: 28 };
/** IFLA_*, IFA_*, RTA_*, NDA_*, IFLA_VXLAN_* of linux/if_link.h, if_addr.h, rtnetlink.h, neighbour.h. */
const link = { address: 1, name: 3, mtu: 4, master: 10, info: 18, alias: 20, group: 27, netnsFd: 28 };
const linkInfo = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 };
const veth = { peer: 1 };
const vxlan = { id: 1, local: 4, learning: 7, port: 15, local6: 17 };
const bridgePort = { learning: 8, unicastFlood: 9, multicastFlood: 27, broadcastFlood: 30 };
const bridge = { forwardDelay: 1, stpState: 5, multicastSnooping: 23 };
const address = { address: 1, local: 2 };
const route = { gateway: 5 };
const neighbour = { destination: 1, linkLayer: 2 };
const state = { permanent: 0x80, noArp: 0x40 };
const neighbourFlags = { self: 0x2, master: 0x4 };
const family = { inet: 2, bridge: 7, inet6: 10 };
const up = 0x1;
const adding = flags.ack | flags.create | flags.exclusive;
const setting = flags.ack | flags.create | flags.replace;

export interface Change {
  /** For people. */
  readonly what: string;
  readonly message: Message;
  /** The name of an errno with which the kernel says that nothing need be done. */
  readonly unless?: string;
}

export interface VxlanPort {
  readonly name: string;
  readonly vni: number;
  readonly port: number;
  /** This node's address on the underlay, IPv4 or IPv6. */
  readonly local: string;
  readonly mtu: number;
  readonly group: number;
}

/** The loopback device is always the first; ours are beyond all that the kernel numbers itself. */
export function indexOf(name: string): number {
  if (name === 'lo') return 1;
  return 0x40000000 + (createHash('sha256').update(name).digest().readUInt32BE(0) % 0x3fffffff);
}

/** A bridge that neither learns from time nor waits before it forwards, and tells nobody of groups. */
export const addBridge = (name: string, mac: string, mtu: number, group: number): Change =>
  addLink(name, 'bridge', [[link.address, macBytes(mac)], [link.mtu, mtu], [link.group, group]], [
    [bridge.forwardDelay, 0],
    [bridge.stpState, 0],
    [bridge.multicastSnooping, Buffer.from([0])],
  ]); // prettier-ignore

/** What encrypts, where the kernel has it itself (ENOTSUP: it has not). */
export const addWireguard = (name: string): Change => addLink(name, 'wireguard', [], []);

/** A VXLAN device that learns nothing: where each address is comes from `setRemotes`. */
export function addVxlan({ name, vni, port, local, mtu, group }: VxlanPort): Change {
  const portBytes = Buffer.alloc(2);
  portBytes.writeUInt16BE(port);
  return addLink(name, 'vxlan', [[link.mtu, mtu], [link.group, group]], [
    [vxlan.id, vni],
    [vxlan.learning, Buffer.from([0])],
    [vxlan.port, portBytes],
    [isIPv6(local) ? vxlan.local6 : vxlan.local, addressBytes(local)],
  ]); // prettier-ignore
}

/** A pair: `name` here, `peer` in the network namespace behind the descriptor. */
export function addVeth(
  name: string,
  mtu: number,
  group: number,
  peer: { readonly name: string; readonly netns: number; readonly mac: string },
): Change {
  const peerAttributes: Attribute[] = [
    [link.name, peer.name],
    [link.mtu, mtu],
    [link.address, macBytes(peer.mac)],
    [link.netnsFd, peer.netns],
  ];
  const other = Buffer.concat([interfaceInfo(indexOf(peer.name)), encodeAttributes(peerAttributes)]);
  return addLink(
    name,
    'veth',
    [
      [link.mtu, mtu],
      [link.group, group],
    ],
    [[veth.peer, other]],
  );
}

function addLink(name: string, kind: string, own: readonly Attribute[], data: readonly Attribute[]): Change {
  return {
    what: `add ${kind} ${name}`,
    message: {
      type: type.newLink,
      flags: adding,
      fixed: interfaceInfo(indexOf(name)),
      attributes: [
        [link.name, name],
        ...own,
        [link.info, [[linkInfo.kind, Buffer.from(kind)], [linkInfo.data, data]]],
      ],
    },
    unless: 'EEXIST',
  }; // prettier-ignore
}

/** By its name alone, whatever its index. */
export const removeLink = (name: string): Change => ({
  what: `remove link ${name}`,
  message: {
    type: type.delLink,
    flags: flags.ack,
    fixed: interfaceInfo(0),
    attributes: [[link.name, name]],
  },
  unless: 'ENODEV',
});

/** All links made with this group together, which takes the kernel little more than one. */
export const removeGroup = (group: number): Change => ({
  what: `remove links of group ${String(group)}`,
  message: {
    type: type.delLink,
    flags: flags.ack,
    fixed: interfaceInfo(0),
    attributes: [[link.group, group]],
  },
  unless: 'ENODEV',
});

/** Found by its name alone. */
export const setGroup = (name: string, group: number): Change => ({
  ...changeLink(`set the group of ${name}`, interfaceInfo(0), [
    [link.name, name],
    [link.group, group],
  ]),
  unless: 'ENODEV',
});

export const setUp = (name: string, index = indexOf(name)): Change =>
  changeLink(`set ${name} up`, interfaceInfo(index, { flags: up, change: up }), []);

/** Of a link that somebody else has made, and numbered. */
export const setMtu = (name: string, index: number, mtu: number): Change =>
  changeLink(`set ${name} to packets of ${String(mtu)} bytes`, interfaceInfo(index), [[link.mtu, mtu]]);

/** What `ip link` shows people beside the name. */
export const setAlias = (name: string, alias: string): Change =>
  changeLink(`describe ${name}`, interfaceInfo(indexOf(name)), [[link.alias, alias.slice(0, 255)]]);

/** Makes it a port of a bridge; null takes it off. */
export const setMaster = (name: string, master: string | null): Change =>
  changeLink(`join ${name} to ${master ?? 'no bridge'}`, interfaceInfo(indexOf(name)), [
    [link.master, master === null ? 0 : indexOf(master)],
  ]);

/** A port that knows its addresses from `setForwarding` alone: it neither learns nor is sent what nobody asked for. */
export function setStaticPort(name: string): Change {
  const off = Buffer.from([0]);
  const { learning, unicastFlood, multicastFlood, broadcastFlood } = bridgePort;
  const data: Attribute[] = [learning, unicastFlood, multicastFlood, broadcastFlood].map((each) => [
    each,
    off,
  ]);
  return changeLink(`set port ${name}`, interfaceInfo(indexOf(name)), [
    [link.info, [[linkInfo.slaveKind, Buffer.from('bridge')], [linkInfo.slaveData, data]]],
  ]); // prettier-ignore
}

const changeLink = (what: string, fixed: Buffer, attributes: readonly Attribute[]): Change => ({
  what,
  message: { type: type.newLink, flags: flags.ack, fixed, attributes },
});

export function addAddress(name: string, ip: string, prefix: number, index = indexOf(name)): Change {
  const bytes = addressBytes(ip);
  const fixed = Buffer.alloc(8); // struct ifaddrmsg
  fixed[0] = bytes.length === 4 ? family.inet : family.inet6;
  fixed[1] = prefix;
  fixed[2] = bytes.length === 4 ? 0 : 0x02; // IFA_F_NODAD: nobody else has it
  fixed.writeUInt32LE(index, 4);
  return {
    what: `add ${ip}/${String(prefix)} to ${name}`,
    message: {
      type: type.newAddress,
      flags: setting,
      fixed,
      attributes: [
        [address.local, bytes],
        [address.address, bytes],
      ],
    },
  };
}

export function setDefaultRoute(gateway: string): Change {
  const bytes = addressBytes(gateway);
  const kind = bytes.length === 4 ? family.inet : family.inet6;
  return {
    what: `set default route by ${gateway}`,
    message: {
      type: type.newRoute,
      flags: setting,
      fixed: Buffer.from([kind, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]), // main table, static, universe, unicast
      attributes: [[route.gateway, bytes]],
    },
  };
}

/** Which hardware address an address on this link has, for good: nobody is asked on the wire. */
export function setNeighbour(name: string, ip: string, mac: string): Change {
  const bytes = addressBytes(ip);
  return {
    what: `set neighbour ${ip} on ${name}`,
    message: newNeighbour(bytes.length === 4 ? family.inet : family.inet6, name, state.permanent, 0, [
      [neighbour.destination, bytes],
      [neighbour.linkLayer, macBytes(mac)],
    ]),
  };
}

/** Behind which node of the underlay a VXLAN device finds a hardware address. */
export const setRemote = (name: string, mac: string, node: string): Change => ({
  what: `set ${mac} behind ${node} on ${name}`,
  message: newNeighbour(family.bridge, name, state.permanent, neighbourFlags.self, [
    [neighbour.linkLayer, macBytes(mac)],
    [neighbour.destination, addressBytes(node)],
  ]),
});

/** Behind which port of its bridge a hardware address is. A permanent entry would mean the bridge itself (br_fdb.c). */
export const setForwarding = (name: string, mac: string): Change => ({
  what: `set ${mac} at port ${name}`,
  message: newNeighbour(family.bridge, name, state.noArp, neighbourFlags.master, [
    [neighbour.linkLayer, macBytes(mac)],
  ]),
});

function newNeighbour(
  kind: number,
  name: string,
  states: number,
  bits: number,
  attributes: readonly Attribute[],
): Message {
  const fixed = Buffer.alloc(12); // struct ndmsg
  fixed[0] = kind;
  fixed.writeUInt32LE(indexOf(name), 4);
  fixed.writeUInt16LE(states, 8);
  fixed[10] = bits;
  return { type: type.newNeighbour, flags: setting, fixed, attributes };
}

/** struct ifinfomsg */
function interfaceInfo(index: number, { flags: bits = 0, change = 0 } = {}): Buffer {
  const fixed = Buffer.alloc(16);
  fixed.writeUInt32LE(index, 4);
  fixed.writeUInt32LE(bits, 8);
  fixed.writeUInt32LE(change, 12);
  return fixed;
}
