// Unix sockets of a sandbox whose other end is outside of it, as the kernel tells of all sockets of a network namespace
// (sock_diag(7)). Such a connection cannot be restored; one that its listener has not accepted yet would even be saved without
// a word and fail the restore. It only looks.
import type { Native } from '../../native/addon/index.ts';
import { decodeAnswers, decodeAttributes, encodeMessage, flags, textOf } from '../network/netlink.ts';
import type { Descriptor } from './descriptors.ts';

const sockDiagProtocol = 4;
const byFamily = 20;
const unixFamily = 1;
const show = { name: 1, peer: 4, pending: 8 } as const;
const attribute = { name: 0, peer: 2, pending: 3 } as const;
const states = { established: 1, listening: 10 } as const;
const messageBytes = 16;

export interface UnixSocket {
  readonly inode: number;
  readonly state: number;
  /** A path, or an abstract name after an @; empty: it has none. */
  readonly name: string;
  /** The other end; 0: it has none that was accepted, null: it never had one. */
  readonly peer: number | null;
  /** Of a listener: the other ends of connections that it has not accepted. */
  readonly pending: readonly number[];
}

export function encodeUnixRequest(): Buffer {
  const fixed = Buffer.alloc(24);
  fixed.writeUInt8(unixFamily, 0);
  fixed.writeUInt32LE(0xffffffff, 4);
  fixed.writeUInt32LE(show.name | show.peer | show.pending, 12);
  return encodeMessage({ type: byFamily, flags: flags.dump, fixed, attributes: [] });
}

export function decodeUnixSockets(bytes: Buffer): UnixSocket[] {
  return decodeAnswers(bytes).answers.map(({ body }) => {
    const attributes = decodeAttributes(body.subarray(messageBytes));
    const name = attributes.get(attribute.name);
    const pending = attributes.get(attribute.pending) ?? Buffer.alloc(0);
    return {
      inode: body.readUInt32LE(4),
      state: body.readUInt8(2),
      name: name?.[0] === 0 ? `@${name.subarray(1).toString('utf8')}` : textOf(name),
      peer: attributes.get(attribute.peer)?.readUInt32LE(0) ?? null,
      pending: Array.from({ length: pending.length >> 2 }, (_, at) => pending.readUInt32LE(at * 4)),
    };
  });
}

/** All unix sockets of a network namespace; -1: the agent's own. */
export async function unixSockets(native: Native, netns: number): Promise<UnixSocket[]> {
  const fd = native.netlinkOpen(netns, sockDiagProtocol);
  try {
    return decodeUnixSockets(await native.netlinkRequest(fd, encodeUnixRequest()));
  } finally {
    native.close(fd);
  }
}

/** Sockets that processes hold, each with the first of them that does. */
export function heldSockets(descriptors: readonly Descriptor[]): Map<number, number> {
  const held = new Map<number, number>();
  for (const { pid, target } of descriptors) {
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined && !held.has(Number(inode))) held.set(Number(inode), pid);
  }
  return held;
}

export interface OuterConnection {
  readonly pid: number;
  /** What the other end, or the listener, is called. */
  readonly peerName: string;
  readonly accepted: boolean;
}

/** Connections of `held` sockets to others that are not. */
export function outerConnections(
  sockets: readonly UnixSocket[],
  held: ReadonlyMap<number, number>,
): OuterConnection[] {
  const byInode = new Map(sockets.map((socket) => [socket.inode, socket]));
  const waiting = new Map(
    sockets
      .filter(({ state }) => state === states.listening)
      .flatMap((listener) => listener.pending.map((inode) => [inode, listener] as const)),
  );
  const found: OuterConnection[] = [];
  for (const { inode, peer } of sockets) {
    const pid = held.get(inode);
    if (pid === undefined || peer === null) continue;
    const listener = waiting.get(inode);
    if (listener) {
      if (!held.has(listener.inode)) found.push({ pid, peerName: listener.name, accepted: false });
    } else if (peer !== 0 && !held.has(peer))
      found.push({ pid, peerName: byInode.get(peer)?.name ?? '', accepted: true });
  }
  return found;
}
