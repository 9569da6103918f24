// Links, addresses, routes and neighbours of one network namespace, by rtnetlink: one method an operation, done one
// after another, off the main thread, since the kernel's lock on links may take a while. Names and addresses come from the caller.
import { isIPv6 } from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { Native } from '../../native/addon/index.ts';
import { addressBytes, macBytes } from '../../wire/job-addresses.ts';
import {
  decodeAnswers,
  decodeAttributes,
  encodeAttributes,
  encodeMessage,
  flags,
  textOf,
  type Answer,
  type Attribute,
  type Message,
} from './netlink.ts';

const type = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  newAddress: 20,
  getAddress: 22,
  newRoute: 24,
  getRoute: 26,
  newNeighbour: 28,
  delNeighbour: 29,
  getNeighbour: 30,
};
/** IFLA_*, IFA_*, RTA_*, NDA_*, IFLA_VXLAN_* of linux/if_link.h, if_addr.h, rtnetlink.h, neighbour.h. */
const link = { address: 1, name: 3, mtu: 4, master: 10, info: 18, netnsFd: 28, alias: 20 };
const linkInfo = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 };
const veth = { peer: 1 };
const vxlan = {
  id: 1,
  local: 4,
  ttl: 5,
  learning: 7,
  port: 15,
  local6: 17,
  udpZeroCsum6Tx: 19,
  udpZeroCsum6Rx: 20,
};
const bridgePort = {
  mode: 4,
  learning: 8,
  unicastFlood: 9,
  multicastFlood: 27,
  broadcastFlood: 30,
  isolated: 33,
};
const bridge = { forwardDelay: 1, stpState: 5, multicastSnooping: 23 };
const address = { address: 1, local: 2 };
const route = { destination: 1, outInterface: 4, gateway: 5 };
const neighbour = { destination: 1, linkLayer: 2 };
const up = 0x1;
const state = { permanent: 0x80, noArp: 0x40 };
const neighbourFlags = { self: 0x2, master: 0x4 };
const family = { unspecified: 0, inet: 2, bridge: 7, inet6: 10 };

/** Their acknowledgements fit into a socket's buffer. */
const mostAtOnce = 64;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly kind: string;
  readonly alias: string;
  readonly mtu: number;
  readonly isUp: boolean;
  /** Index of the bridge that it is a port of; 0: none. */
  readonly master: number;
  /** Of a VXLAN device; 0: it is none. */
  readonly vni: number;
}

export interface Route {
  /** Dotted address and length; "0.0.0.0/0" is the default route. */
  readonly destination: string;
  readonly outInterface: number;
}

export interface VxlanPort {
  readonly name: string;
  readonly vni: number;
  readonly port: number;
  /** This node's address on the underlay, IPv4 or IPv6. */
  readonly local: string;
  readonly mtu: number;
}

/** The kernel refused: `code` is the errno's name; the message names what was asked and what the kernel said. */
export class LinkError extends Error {
  override readonly name = 'LinkError';
  readonly code: string;

  constructor(what: string, code: string, text: string) {
    super(`MUSTER_NETWORK_REFUSED: ${what}: ${code}${text === '' ? '' : ` (${text})`}`);
    this.code = code;
  }
}

export class Links implements AsyncDisposable {
  readonly #native: Native;
  readonly #socket: number;
  /** A socket has one question at a time. */
  #last: Promise<unknown> = Promise.resolve();

  /** Of the network namespace behind this descriptor; -1: the agent's own. */
  constructor(native: Native, netns: number) {
    this.#native = native;
    this.#socket = native.netlinkOpen(netns, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#native.close(this.#socket);
  }

  async list(): Promise<Link[]> {
    const message = { type: type.getLink, flags: flags.dump, fixed: interfaceInfo(), attributes: [] };
    return (await this.#ask('list links', message)).map(({ body }) => decodeLink(body));
  }

  /** Null when there is none of that name. */
  async find(name: string): Promise<Link | null> {
    const message = {
      type: type.getLink,
      flags: flags.ack,
      fixed: interfaceInfo(),
      attributes: [[link.name, name]] as const,
    };
    try {
      const [answer] = await this.#ask(`find link ${name}`, message);
      return answer ? decodeLink(answer.body) : null;
    } catch (error) {
      if (error instanceof LinkError && error.code === 'ENODEV') return null;
      throw error;
    }
  }

  async indexOf(name: string): Promise<number> {
    const found = await this.find(name);
    if (!found) throw new LinkError(`find link ${name}`, 'ENODEV', '');
    return found.index;
  }

  /** A bridge that neither learns from time nor waits before it forwards, and tells nobody of groups. */
  async addBridge(name: string, mac: string, mtu: number): Promise<void> {
    await this.#add(`add bridge ${name}`, [
      [link.name, name],
      [link.address, macBytes(mac)],
      [link.mtu, mtu],
      [
        link.info,
        [
          [linkInfo.kind, Buffer.from('bridge')],
          [
            linkInfo.data,
            [
              [bridge.forwardDelay, 0],
              [bridge.stpState, 0],
              [bridge.multicastSnooping, Buffer.from([0])],
            ],
          ],
        ],
      ],
    ]);
  }

  /** A VXLAN device that learns nothing: where each address is comes from `setRemote`. */
  async addVxlan({ name, vni, port, local, mtu }: VxlanPort): Promise<void> {
    const portBytes = Buffer.alloc(2);
    portBytes.writeUInt16BE(port);
    const six = isIPv6(local);
    await this.#add(`add VXLAN ${name}`, [
      [link.name, name],
      [link.mtu, mtu],
      [
        link.info,
        [
          [linkInfo.kind, Buffer.from('vxlan')],
          [
            linkInfo.data,
            [
              [vxlan.id, vni],
              [vxlan.learning, Buffer.from([0])],
              [vxlan.port, portBytes],
              [six ? vxlan.local6 : vxlan.local, addressBytes(local)],
            ],
          ],
        ],
      ],
    ]);
  }

  /** A pair: `name` here, `peer` in the network namespace behind the descriptor. */
  async addVeth(
    name: string,
    mtu: number,
    peer: { readonly name: string; readonly netns: number; readonly mac: string },
  ): Promise<void> {
    const peerAttributes: Attribute[] = [
      [link.name, peer.name],
      [link.mtu, mtu],
      [link.address, macBytes(peer.mac)],
      [link.netnsFd, peer.netns],
    ];
    await this.#add(`add veth ${name}`, [
      [link.name, name],
      [link.mtu, mtu],
      [
        link.info,
        [
          [linkInfo.kind, Buffer.from('veth')],
          [linkInfo.data, [[veth.peer, withFixed(interfaceInfo(), peerAttributes)]]],
        ],
      ],
    ]);
  }

  async remove(name: string): Promise<void> {
    const attributes: Attribute[] = [[link.name, name]];
    try {
      await this.#ask(`remove link ${name}`, {
        type: type.delLink,
        flags: flags.ack,
        fixed: interfaceInfo(),
        attributes,
      });
    } catch (error) {
      if (!(error instanceof LinkError && error.code === 'ENODEV')) throw error;
    }
  }

  async setUp(name: string): Promise<void> {
    await this.#change(`set ${name} up`, interfaceInfo({ change: up, flags: up }), [[link.name, name]]);
  }

  async setMac(name: string, mac: string): Promise<void> {
    await this.#change(`set the address of ${name}`, interfaceInfo(), [
      [link.name, name],
      [link.address, macBytes(mac)],
    ]);
  }

  /** What `ip link` shows people beside the name. */
  async setAlias(name: string, alias: string): Promise<void> {
    await this.#change(`describe ${name}`, interfaceInfo(), [
      [link.name, name],
      [link.alias, alias.slice(0, 255)],
    ]);
  }

  /** Makes it a port of a bridge; null takes it off. */
  async setMaster(name: string, master: string | null): Promise<void> {
    await this.#change(`join ${name} to ${master ?? 'no bridge'}`, interfaceInfo(), [
      [link.name, name],
      [link.master, master === null ? 0 : await this.indexOf(master)],
    ]);
  }

  /** A port that knows its addresses from `addForwarding` alone: it neither learns nor is sent what nobody asked for. */
  async setStaticPort(name: string, flood: boolean): Promise<void> {
    const byte = (value: boolean): Buffer => Buffer.from([value ? 1 : 0]);
    await this.#change(`set port ${name}`, interfaceInfo(), [
      [link.name, name],
      [
        link.info,
        [
          [linkInfo.slaveKind, Buffer.from('bridge')],
          [
            linkInfo.slaveData,
            [
              [bridgePort.learning, byte(false)],
              [bridgePort.unicastFlood, byte(false)],
              [bridgePort.multicastFlood, byte(flood)],
              [bridgePort.broadcastFlood, byte(flood)],
            ],
          ],
        ],
      ],
    ]);
  }

  async addAddress(name: string, ip: string, prefix: number): Promise<void> {
    const bytes = addressBytes(ip);
    const fixed = Buffer.alloc(8);
    fixed[0] = bytes.length === 4 ? family.inet : family.inet6;
    fixed[1] = prefix;
    fixed[2] = bytes.length === 4 ? 0 : 0x02; // IFA_F_NODAD: nobody else has it
    fixed.writeUInt32LE(await this.indexOf(name), 4);
    await this.#ask(`add ${ip}/${String(prefix)} to ${name}`, {
      type: type.newAddress,
      flags: flags.ack | flags.create | flags.replace,
      fixed,
      attributes: [
        [address.local, bytes],
        [address.address, bytes],
      ],
    });
  }

  async addDefaultRoute(gateway: string): Promise<void> {
    const fixed = Buffer.from([family.inet, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]); // main table, static, universe, unicast
    await this.#ask(`add default route by ${gateway}`, {
      type: type.newRoute,
      flags: flags.ack | flags.create | flags.replace,
      fixed,
      attributes: [[route.gateway, addressBytes(gateway)]],
    });
  }

  /** IPv4 routes of the main table. */
  async routes(): Promise<Route[]> {
    const fixed = Buffer.alloc(12);
    fixed[0] = family.inet;
    const message = { type: type.getRoute, flags: flags.dump, fixed, attributes: [] };
    return (await this.#ask('list routes', message)).flatMap(({ body }) => {
      if (body[4] !== 254) return [];
      const attributes = decodeAttributes(body.subarray(12));
      const destination = attributes.get(route.destination) ?? Buffer.alloc(4);
      const outInterface = attributes.get(route.outInterface)?.readUInt32LE(0) ?? 0;
      return [{ destination: `${[...destination].join('.')}/${String(body[1])}`, outInterface }];
    });
  }

  /** Which hardware addresses these addresses on this link have, for good: nobody is asked on the wire. */
  async setNeighbours(name: string, entries: readonly { ip: string; mac: string }[]): Promise<void> {
    if (entries.length === 0) return;
    const index = await this.indexOf(name);
    const all = entries.map(({ ip, mac }) => {
      const bytes = addressBytes(ip);
      return newNeighbour(bytes.length === 4 ? family.inet : family.inet6, index, 0, [
        [neighbour.destination, bytes],
        [neighbour.linkLayer, macBytes(mac)],
      ]);
    });
    await this.#askAll(`set neighbours on ${name}`, all);
  }

  /** Behind which nodes of the underlay a VXLAN device finds hardware addresses. */
  async setRemotes(name: string, entries: readonly { mac: string; node: string }[]): Promise<void> {
    if (entries.length === 0) return;
    const index = await this.indexOf(name);
    const all = entries.map(({ mac, node }) =>
      newNeighbour(family.bridge, index, neighbourFlags.self, [
        [neighbour.linkLayer, macBytes(mac)],
        [neighbour.destination, addressBytes(node)],
      ]),
    );
    await this.#askAll(`set what is behind ${name}`, all);
  }

  /** Behind which port of its bridge hardware addresses are. */
  async setForwarding(name: string, macs: readonly string[]): Promise<void> {
    if (macs.length === 0) return;
    const index = await this.indexOf(name);
    const all = macs.map((mac) =>
      newNeighbour(family.bridge, index, neighbourFlags.master, [[neighbour.linkLayer, macBytes(mac)]]),
    );
    await this.#askAll(`set what is at port ${name}`, all);
  }

  async #add(what: string, attributes: readonly Attribute[]): Promise<void> {
    const bits = flags.ack | flags.create | flags.exclusive;
    await this.#ask(what, { type: type.newLink, flags: bits, fixed: interfaceInfo(), attributes });
  }

  async #change(what: string, fixed: Buffer, attributes: readonly Attribute[]): Promise<void> {
    await this.#ask(what, { type: type.newLink, flags: flags.ack, fixed, attributes });
  }

  async #askAll(what: string, messages: readonly Message[]): Promise<void> {
    for (let at = 0; at < messages.length; at += mostAtOnce)
      await this.#send(what, Buffer.concat(messages.slice(at, at + mostAtOnce).map(encodeMessage)));
  }

  #ask(what: string, message: Message): Promise<Answer[]> {
    return this.#send(what, encodeMessage(message));
  }

  async #send(what: string, bytes: Buffer): Promise<Answer[]> {
    const asked = this.#last.then(() => this.#native.netlinkRequest(this.#socket, bytes));
    this.#last = asked.catch(() => undefined);
    const { answers, refusal } = decodeAnswers(await asked);
    if (refusal) throw new LinkError(what, getSystemErrorName(-refusal.errno), refusal.text);
    return answers;
  }
}

/** A permanent entry of a bridge would mean the bridge itself: one that stays there is "no ARP" (br_fdb.c). */
function newNeighbour(kind: number, index: number, bits: number, attributes: readonly Attribute[]): Message {
  const states = bits === neighbourFlags.master ? state.noArp : state.permanent;
  return {
    type: type.newNeighbour,
    flags: flags.ack | flags.create | flags.replace,
    fixed: neighbourInfo(kind, index, states, bits),
    attributes,
  };
}

/** struct ifinfomsg */
function interfaceInfo({ flags: bits = 0, change = 0 } = {}): Buffer {
  const fixed = Buffer.alloc(16);
  fixed.writeUInt32LE(bits, 8);
  fixed.writeUInt32LE(change, 12);
  return fixed;
}

/** struct ndmsg */
function neighbourInfo(kind: number, index: number, states: number, bits: number): Buffer {
  const fixed = Buffer.alloc(12);
  fixed[0] = kind;
  fixed.writeUInt32LE(index, 4);
  fixed.writeUInt16LE(states, 8);
  fixed[10] = bits;
  return fixed;
}

const withFixed = (fixed: Buffer, attributes: readonly Attribute[]): Buffer =>
  Buffer.concat([fixed, encodeAttributes(attributes)]);

function decodeLink(body: Buffer): Link {
  const attributes = decodeAttributes(body.subarray(16));
  const info = decodeAttributes(attributes.get(link.info) ?? Buffer.alloc(0));
  const kind = textOf(info.get(linkInfo.kind));
  const data = decodeAttributes(info.get(linkInfo.data) ?? Buffer.alloc(0));
  return {
    index: body.readInt32LE(4),
    isUp: (body.readUInt32LE(8) & up) !== 0,
    name: textOf(attributes.get(link.name)),
    kind,
    alias: textOf(attributes.get(link.alias)),
    mtu: attributes.get(link.mtu)?.readUInt32LE(0) ?? 0,
    master: attributes.get(link.master)?.readUInt32LE(0) ?? 0,
    vni: kind === 'vxlan' ? (data.get(vxlan.id)?.readUInt32LE(0) ?? 0) : 0,
  };
}
