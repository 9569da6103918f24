// The socket for `muster run` on this machine: a front asks for a sandbox's output and gets read-only descriptors of its log
// segments, then word of growth straight from the pump's thread. It writes standard input into the spool through an
// append-only descriptor. The front copies at its own offsets, so it may come, go and come again. It often comes before the
// sandbox, since the hub tells both at once: then its request waits a little, as one for a sandbox of somebody else's does.
import { constants, chmodSync, closeSync, openSync, unlinkSync } from 'node:fs';
import type { Logger } from 'pino';
import { timingSafeEqual } from 'node:crypto';
import type { Native, PacketServer, PacketSocket } from '../native/addon/index.ts';
import { errnoOf, messageOf } from './agent-error.ts';
import type { LogStream } from './log-stream.ts';
import { nobodyReads } from './input.ts';
import type { OutputSpool } from './output.ts';
import type { Sandbox } from './sandbox.ts';
import type { Sandboxes } from './sandboxes.ts';

/** enum front_type of native/front/protocol.h. */
const front = {
  open: 32,
  input: 33,
  shown: 34,
  stream: 48,
  grew: 49,
  inputFd: 50,
  ended: 51,
  refused: 52,
  inputWindow: 53,
} as const;
const shownRecordBytes = 16;
/** A front is told of a window that has moved by less only when it is to stop. */
const windowStepBytes = 1 << 20;
const unknownUid = 0xffffffff;
/** Shorter than the time after which a front takes its connection for one that is served (native/front/sandboxes.c). */
const holdMs = 500;
const mostHeld = 4096;
const noSandbox = 'MUSTER_NO_SANDBOX: this node has no such sandbox that you may open';

/** A request for a sandbox that is not here yet. */
interface Held {
  readonly text: string;
  readonly uid: number;
  readonly timer: NodeJS.Timeout;
  readonly open: (sandbox: Sandbox) => void;
}

export class LocalSocket {
  readonly #native: Native;
  readonly #sandboxes: Sandboxes;
  readonly #output: OutputSpool;
  readonly #log: Logger;
  readonly #server: PacketServer;
  readonly #fronts = new Set<Front>();
  readonly #held = new Set<Held>();

  constructor(path: string, native: Native, sandboxes: Sandboxes, output: OutputSpool, log: Logger) {
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
    sandboxes.onAdded.add(this.#retry);
  }

  /** The path stays: by it the control plane knows, also while the agent is away, that the node is on its machine. */
  close(): void {
    this.#server.close();
    this.#sandboxes.onAdded.delete(this.#retry);
    for (const held of this.#held) this.#release(held);
    for (const each of this.#fronts) each.close();
  }

  #connected(socket: PacketSocket): void {
    let opened: Front | null = null;
    let held: Held | null = null;
    const open = (sandbox: Sandbox) => {
      if (held) this.#release(held);
      held = null;
      opened = new Front(socket, sandbox, this.#output);
      this.#fronts.add(opened);
      opened.begin();
    };
    const close = () => {
      if (held) this.#release(held);
      held = null;
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
        if (type === front.open && !opened && !held) {
          const [text, { uid }] = [bytes.toString('utf8', 4), socket.peerCredentials()];
          const sandbox = this.#find(text, uid);
          if (sandbox) open(sandbox);
          else if (this.#held.size >= mostHeld) refuse(socket, noSandbox);
          else {
            const timer = setTimeout(() => {
              if (held) this.#release(held);
              held = null;
              refuse(socket, noSandbox);
            }, holdMs);
            held = { text, uid, timer, open };
            this.#held.add(held);
          }
        } else if (type === front.input && bytes.length >= 16) opened?.grown(bytes.readUInt32LE(12) !== 0);
        else if (type === front.shown) opened?.shown(bytes);
      } catch (error) {
        this.#log.warn({ err: error }, 'front could not be served');
        refuse(socket, messageOf(error));
      }
    };
  }

  readonly #retry = (): void => {
    for (const held of this.#held) {
      const sandbox = this.#find(held.text, held.uid);
      if (sandbox) held.open(sandbox);
    }
  };

  #release(held: Held): void {
    clearTimeout(held.timer);
    this.#held.delete(held);
  }

  /** A caller learns nothing of sandboxes that are not his, not even from how long an answer takes. */
  #find(text: string, uid: number): Sandbox | null {
    const [groupUid = '', ordinal = '', incarnation = '', token = ''] = text.replace(/\0$/, '').split(' ');
    const sandbox = this.#sandboxes.find({
      groupUid,
      ordinal: Number(ordinal),
      incarnation: Number(incarnation),
    });
    if (!sandbox) return null;
    const { spec } = sandbox;
    const owns = uid === 0 || uid === spec.uid || (spec.ownerUid !== unknownUid && uid === spec.ownerUid);
    return owns || sameToken(token, spec.frontToken) ? sandbox : null;
  }
}

class Front {
  readonly #socket: PacketSocket;
  readonly #sandbox: Sandbox;
  readonly #output: OutputSpool;
  readonly #queue: { bytes: Buffer; fds: number[] }[] = [];
  readonly #subscribed = new Set<LogStream>();
  readonly #subscriptions: number[] = [];
  #windowTold = -1;
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
    this.#sandbox.logs.onComplete.add(this.#streamsChanged);
    this.#look();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sandbox.logs.listeners.delete(this.#grew);
    this.#sandbox.logs.onStreams.delete(this.#streamsChanged);
    this.#sandbox.logs.onComplete.delete(this.#streamsChanged);
    this.#sandbox.input?.listeners.delete(this.#windowMoved);
    for (const subscription of this.#subscriptions) this.#output.pump.unsubscribe(subscription);
    for (const { fds } of this.#queue.splice(0)) for (const fd of fds) closeSync(fd);
    this.#socket.close();
  }

  drained(): void {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      if (!sendTo(this.#socket, next.bytes, next.fds)) return;
      for (const fd of next.fds) closeSync(fd);
      this.#queue.shift();
    }
  }

  /** The front has appended to the input spool. */
  grown(end: boolean): void {
    if (end) this.#sandbox.input?.end();
    else this.#sandbox.input?.advance();
  }

  /** The front has written output out. */
  shown(packet: Buffer): void {
    for (let at = 4; at + shownRecordBytes <= packet.length; at += shownRecordBytes) {
      const id = packet.readUInt32LE(at);
      const stream = this.#sandbox.logs.streams.find((each) => each.id === id);
      if (stream) this.#output.shown(stream, Number(packet.readBigUInt64LE(at + 8)));
    }
  }

  readonly #windowMoved = (): void => {
    const window = this.#sandbox.input?.window ?? 0;
    if (window <= this.#windowTold || (window !== nobodyReads && window < this.#windowTold + windowStepBytes))
      return;
    this.#windowTold = window;
    const packet = Buffer.alloc(12);
    packet.writeUInt32LE(front.inputWindow, 0);
    packet.writeBigUInt64LE(BigInt(window), 4);
    this.#send(packet, []);
  };

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
    if (input && input.window !== nobodyReads && this.#windowTold < 0) {
      this.#windowTold = input.window;
      input.listeners.add(this.#windowMoved);
      const packet = Buffer.alloc(20);
      packet.writeUInt32LE(front.inputFd, 0);
      packet.writeBigUInt64LE(BigInt(input.length), 4);
      packet.writeBigUInt64LE(BigInt(this.#windowTold), 12);
      this.#send(packet, [input.openForAppend()]);
    }
    if (!logs.complete || this.#endedTold) return;
    if (logs.moved) {
      this.close(); // the front is told where it goes on
      return;
    }
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
  sendTo(socket, packet, []);
}

/** False: its queue is full. A front that has gone is heard of by onClose; what it would have been told is done with. */
function sendTo(socket: PacketSocket, bytes: Buffer, fds: readonly number[]): boolean {
  try {
    return socket.send(bytes, fds);
  } catch (error) {
    if (!goneErrors.has(errnoOf(error) ?? '')) throw error;
    return true;
  }
}

const goneErrors: ReadonlySet<string> = new Set(['EPIPE', 'ECONNRESET', 'ENOTCONN']);

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
