// The socket for `muster run` on this machine: a front asks for a sandbox's output and gets read-only descriptors of its log
// segments, then word of growth straight from the pump's thread. It writes standard input into the spool through an
// append-only descriptor. The front copies at its own offsets, so it may come, go and come again.
import { constants, chmodSync, closeSync, openSync, unlinkSync } from 'node:fs';
import type { Logger } from 'pino';
import { timingSafeEqual } from 'node:crypto';
import type { Native, PacketServer, PacketSocket } from '../native/addon/index.ts';
import { errnoOf, messageOf } from './agent-error.ts';
import type { LogStream } from './log-stream.ts';
import type { OutputSpool } from './output.ts';
import type { Sandbox } from './sandbox.ts';
import type { Sandboxes } from './sandboxes.ts';

/** enum front_type of native/front/protocol.h. */
const front = { open: 32, input: 33, stream: 48, grew: 49, inputFd: 50, ended: 51, refused: 52 } as const;
const unknownUid = 0xffffffff;

export class LocalSocket {
  readonly #native: Native;
  readonly #sandboxes: Sandboxes;
  readonly #output: OutputSpool;
  readonly #log: Logger;
  readonly #server: PacketServer;
  readonly #path: string;
  readonly #fronts = new Set<Front>();

  constructor(path: string, native: Native, sandboxes: Sandboxes, output: OutputSpool, log: Logger) {
    this.#path = path;
    this.#native = native;
    this.#sandboxes = sandboxes;
    this.#output = output;
    this.#log = log;
    remove(path);
    this.#server = native.listenPacket(path, 0o666);
    chmodSync(path, 0o666);
    this.#server.onConnection = (socket) => {
      this.#connected(socket);
    };
  }

  close(): void {
    this.#server.close();
    for (const each of this.#fronts) each.close();
    remove(this.#path);
  }

  #connected(socket: PacketSocket): void {
    let opened: Front | null = null;
    const close = () => {
      if (!opened) return;
      this.#fronts.delete(opened);
      opened.close();
      opened = null;
    };
    socket.onClose = close;
    socket.onDrain = () => {
      opened?.drained();
    };
    socket.onPacket = ({ bytes, fds }) => {
      for (const fd of fds) this.#native.close(fd);
      if (bytes.length < 4) return;
      try {
        const type = bytes.readUInt32LE(0);
        if (type === front.open && !opened) {
          const sandbox = this.#find(bytes.toString('utf8', 4), socket.peerCredentials().uid);
          if (typeof sandbox === 'string') refuse(socket, sandbox);
          else {
            opened = new Front(socket, sandbox, this.#output);
            this.#fronts.add(opened);
            opened.begin();
          }
        } else if (type === front.input && bytes.length >= 16) opened?.grown(bytes.readUInt32LE(12) !== 0);
      } catch (error) {
        this.#log.warn({ err: error }, 'front could not be served');
        refuse(socket, messageOf(error));
      }
    };
  }

  /** The sandbox, or why not. A caller learns nothing of sandboxes that are not his. */
  #find(text: string, uid: number): Sandbox | string {
    const [groupUid = '', ordinal = '', incarnation = '', token = ''] = text.replace(/\0$/, '').split(' ');
    const sandbox = this.#sandboxes.find({
      groupUid,
      ordinal: Number(ordinal),
      incarnation: Number(incarnation),
    });
    const refusal = 'MUSTER_NO_SANDBOX: this node has no such sandbox that you may open';
    if (!sandbox) return refusal;
    const { spec } = sandbox;
    const owns = uid === 0 || uid === spec.uid || (spec.ownerUid !== unknownUid && uid === spec.ownerUid);
    return owns || sameToken(token, spec.frontToken) ? sandbox : refusal;
  }
}

class Front {
  readonly #socket: PacketSocket;
  readonly #sandbox: Sandbox;
  readonly #output: OutputSpool;
  readonly #queue: { bytes: Buffer; fds: number[] }[] = [];
  readonly #subscribed = new Set<LogStream>();
  readonly #subscriptions: number[] = [];
  #inputGiven = false;
  #endedTold = false;
  #scheduled = false;
  #closed = false;

  constructor(socket: PacketSocket, sandbox: Sandbox, output: OutputSpool) {
    this.#socket = socket;
    this.#sandbox = sandbox;
    this.#output = output;
  }

  begin(): void {
    this.#sandbox.logs.listeners.add(this.#grew);
    this.#sandbox.logs.onStreams.add(this.#streamsChanged);
    this.#sandbox.endListeners.add(this.#streamsChanged);
    this.#look();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sandbox.logs.listeners.delete(this.#grew);
    this.#sandbox.logs.onStreams.delete(this.#streamsChanged);
    this.#sandbox.endListeners.delete(this.#streamsChanged);
    for (const subscription of this.#subscriptions) this.#output.pump.unsubscribe(subscription);
    for (const { fds } of this.#queue.splice(0)) for (const fd of fds) closeSync(fd);
    this.#socket.close();
  }

  drained(): void {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      if (!this.#socket.send(next.bytes, next.fds)) return;
      for (const fd of next.fds) closeSync(fd);
      this.#queue.shift();
    }
  }

  /** The front has appended to the input spool. */
  grown(end: boolean): void {
    if (end) this.#sandbox.input?.end();
    else this.#sandbox.input?.advance();
  }

  readonly #grew = (stream: LogStream, added: readonly number[]): void => {
    for (const segment of added) this.#sendSegment(stream, segment);
    if (stream.ended) this.#streamsChanged();
  };

  readonly #streamsChanged = (): void => {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#look();
    });
  };

  /** Streams not yet told of, input once it is there, and the end. */
  #look(): void {
    const { logs, input } = this.#sandbox;
    const fresh = logs.streams.filter((stream) => !this.#subscribed.has(stream));
    for (const stream of fresh) {
      this.#subscribed.add(stream);
      for (const segment of stream.segments) this.#sendSegment(stream, segment);
    }
    const growing = fresh.filter((stream) => !stream.ended).map((stream) => stream.id);
    if (growing.length > 0) this.#subscriptions.push(this.#output.pump.subscribe(this.#socket.fd, growing));
    this.#sendLengths(fresh.filter((stream) => stream.length > 0 || stream.ended));
    if (input && !this.#inputGiven) {
      this.#inputGiven = true;
      const packet = Buffer.alloc(12);
      packet.writeUInt32LE(front.inputFd, 0);
      packet.writeBigUInt64LE(BigInt(input.length), 4);
      this.#send(packet, [input.openForAppend()]);
    }
    if (!logs.complete || this.#endedTold) return;
    this.#endedTold = true;
    this.#sendLengths(logs.streams);
    const packet = Buffer.alloc(4);
    packet.writeUInt32LE(front.ended, 0);
    this.#send(packet, []);
  }

  #sendSegment(stream: LogStream, segment: number): void {
    let fd: number;
    try {
      fd = openSync(stream.pathOf(segment), constants.O_RDONLY);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return; // deleted by the quota
      throw error;
    }
    const packet = Buffer.alloc(28);
    packet.writeUInt32LE(front.stream, 0);
    packet.writeUInt32LE(stream.id, 4);
    packet.writeUInt32LE(stream.rank, 8);
    packet.writeUInt32LE(stream.stream, 12);
    packet.writeBigUInt64LE(BigInt(segment), 20);
    this.#send(packet, [fd]);
  }

  #sendLengths(streams: readonly LogStream[]): void {
    const perPacket = 1024;
    for (let at = 0; at < streams.length; at += perPacket) {
      const part = streams.slice(at, at + perPacket);
      const packet = Buffer.alloc(4 + part.length * 16);
      packet.writeUInt32LE(front.grew, 0);
      part.forEach((stream, index) => {
        packet.writeUInt32LE(stream.id, 4 + index * 16);
        packet.writeUInt32LE(stream.ended ? 1 : 0, 8 + index * 16);
        packet.writeBigUInt64LE(BigInt(stream.length), 12 + index * 16);
      });
      this.#send(packet, []);
    }
  }

  /** Takes the descriptors. */
  #send(bytes: Buffer, fds: number[]): void {
    this.#queue.push({ bytes, fds });
    if (this.#queue.length === 1) this.drained();
  }
}

function refuse(socket: PacketSocket, why: string): void {
  const text = Buffer.from(why);
  const packet = Buffer.alloc(4 + text.length);
  packet.writeUInt32LE(front.refused, 0);
  text.copy(packet, 4);
  socket.send(packet);
}

function sameToken(given: string, token: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(token)];
  return token !== '' && a.length === b.length && timingSafeEqual(a, b);
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
