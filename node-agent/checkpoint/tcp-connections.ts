// TCP connections of a sandbox whose other end is outside of its group, as the kernel tells of all sockets of a network
// namespace (sock_diag(7)), and their end: such a peer does not stand still with the group, nor come back with it. What
// becomes of them is the group's to say (externalConnections).
import { isIPv6 } from 'node:net';
import type { Native } from '../../native/addon/index.ts';
import { addressBytes } from '../../wire/job-addresses.ts';
import { decodeAnswers, encodeMessage, flags } from '../network/netlink.ts';

const sockDiagProtocol = 4;
const byFamily = 20;
const destroyType = 21;
const families = { inet: 2, inet6: 10 } as const;
const tcp = 6;
/** All but TIME_WAIT, CLOSE and LISTEN: who is connected, or is being connected. */
const connectedStates = 0xfff & ~((1 << 6) | (1 << 7) | (1 << 10));
const listening = 10;
const states = connectedStates | (1 << listening);
const idBytes = 48;
const requestBytes = 8 + idBytes;
const answerBytes = 72;

export interface TcpSocket {
  readonly family: number;
  readonly isListening: boolean;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** 0: nobody has accepted it yet. */
  readonly inode: number;
  /** How the kernel finds it again. */
  readonly id: Buffer;
}

export function encodeTcpRequest(family: number): Buffer {
  const fixed = Buffer.alloc(requestBytes);
  fixed.writeUInt8(family, 0);
  fixed.writeUInt8(tcp, 1);
  fixed.writeUInt32LE(states, 4);
  return encodeMessage({ type: byFamily, flags: flags.dump, fixed, attributes: [] });
}

/** Ends one connection: its peer is told by a reset, its owner by an error. */
export function encodeTcpDestroy({ family, id }: TcpSocket): Buffer {
  const fixed = Buffer.alloc(requestBytes);
  fixed.writeUInt8(family, 0);
  fixed.writeUInt8(tcp, 1);
  fixed.writeUInt32LE(0xffffffff, 4);
  id.copy(fixed, 8);
  return encodeMessage({ type: destroyType, flags: flags.ack, fixed, attributes: [] });
}

/** As inet_ntop(3), an IPv4 address within IPv6 as the former. */
function addressOf(family: number, bytes: Buffer): string {
  if (family === families.inet) return bytes.subarray(0, 4).join('.');
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff)
    return bytes.subarray(12, 16).join('.');
  return groups.map((group) => group.toString(16)).join(':');
}

export function decodeTcpSockets(bytes: Buffer): TcpSocket[] {
  return decodeAnswers(bytes)
    .answers.filter(({ body }) => body.length >= answerBytes)
    .map(({ body }) => {
      const family = body.readUInt8(0);
      const id = Buffer.from(body.subarray(4, 4 + idBytes));
      return {
        family,
        isListening: body.readUInt8(1) === listening,
        localPort: id.readUInt16BE(0),
        remotePort: id.readUInt16BE(2),
        localAddress: addressOf(family, id.subarray(4, 20)),
        remoteAddress: addressOf(family, id.subarray(20, 36)),
        inode: body.readUInt32LE(68),
        id,
      };
    });
}

async function withSocket<T>(native: Native, netns: number, use: (fd: number) => Promise<T>): Promise<T> {
  const fd = native.netlinkOpen(netns, sockDiagProtocol);
  try {
    return await use(fd);
  } finally {
    native.close(fd);
  }
}

/** All of a network namespace, by family. */
export async function tcpSockets(native: Native, netns: number): Promise<TcpSocket[]> {
  const answers = Object.values(families).map((family) =>
    withSocket(native, netns, (fd) => native.netlinkRequest(fd, encodeTcpRequest(family))),
  );
  return (await Promise.all(answers)).flatMap((bytes) => decodeTcpSockets(bytes));
}

/** Gives the errno of those that could not be ended. */
export async function endTcpConnections(
  native: Native,
  netns: number,
  sockets: readonly TcpSocket[],
): Promise<number[]> {
  const failed: number[] = [];
  for (const socket of sockets) {
    const bytes = await withSocket(native, netns, (fd) =>
      native.netlinkRequest(fd, encodeTcpDestroy(socket)),
    );
    failed.push(...decodeAnswers(bytes).refusals.map(({ errno }) => errno));
  }
  return failed;
}

/** Whether ADDRESS/LENGTH covers an address. */
export function covers(subnet: string, address: string): boolean {
  const [base = '', length = ''] = subnet.split('/');
  const [own, other] = [base, address].map((each) => BigInt(`0x${addressBytes(each).toString('hex')}`));
  const rest = BigInt((isIPv6(base) ? 128 : 32) - Number(length));
  return isIPv6(base) === isIPv6(address) && own! >> rest === other! >> rest;
}

const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '0:0:0:0:0:0:0:1';

/** Where a sandbox's connections may end without leaving its group. */
export interface GroupNetwork {
  /** Sockets that its processes hold, each with one of them. */
  readonly held: ReadonlyMap<number, number>;
  /** ADDRESS/LENGTH of the group's own network, by IPv4 and IPv6; empty: it is on the node's. */
  readonly subnets: readonly string[];
}

/** Connections with an end elsewhere; of those on the node's own network only the ones that its processes hold. */
export function outerTcpConnections(
  sockets: readonly TcpSocket[],
  { held, subnets }: GroupNetwork,
): TcpSocket[] {
  const endOf = (address: string, port: number): string => `${address} ${String(port)}`;
  const wayOf = (from: string, to: string): string => `${from} ${to}`;
  const isOwn = ({ inode }: TcpSocket): boolean => subnets.length > 0 || held.has(inode);
  const connections = sockets.filter(({ isListening }) => !isListening);
  const listeners = sockets.filter(({ isListening }) => isListening);
  const listening = new Set(listeners.filter(isOwn).map(({ localPort }) => localPort));
  // Who has not been accepted yet is nobody's: it is its listener's.
  const own = connections.filter(
    (each) => isOwn(each) || (each.inode === 0 && listening.has(each.localPort)),
  );
  const ways = new Set(
    own.map((each) =>
      wayOf(endOf(each.localAddress, each.localPort), endOf(each.remoteAddress, each.remotePort)),
    ),
  );
  return own.filter((each) => {
    const { remoteAddress } = each;
    if (
      subnets.length > 0 &&
      (isLoopback(remoteAddress) || subnets.some((own) => covers(own, remoteAddress)))
    )
      return false;
    const back = wayOf(endOf(each.remoteAddress, each.remotePort), endOf(each.localAddress, each.localPort));
    return !ways.has(back);
  });
}

/** For people. */
export const peerOf = ({ remoteAddress, remotePort }: TcpSocket): string =>
  `${remoteAddress.includes(':') ? `[${remoteAddress}]` : remoteAddress}:${String(remotePort)}`;
