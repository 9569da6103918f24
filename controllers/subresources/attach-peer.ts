/**
 * The other end of an attached WebSocket in either protocol: ours, in which everything has an offset, and Kubernetes' own, in which
 * bytes are just bytes. A session speaks to both in the same words. It knows no group.
 */
import type { WebSocket } from 'ws';
import type { Status } from '../../store/store-error.ts';
import { attachProtocol, decodeFromClient, encodeFromServer, type Notice } from '../../wire/attach-frames.ts';
import { channel, decodeChannelMessage, encodeChannelMessage } from '../../wire/channel-frames.ts';
import type { LogFrame } from '../../wire/log-frames.ts';

export interface PeerEvents {
  /** Without an offset it is what follows the last. */
  input(offset: number | undefined, bytes: Buffer): void;
  inputEnd(length: number | undefined): void;
  resize(rows: number, columns: number): void;
}

export interface AttachPeer {
  events: PeerEvents | undefined;
  /** Settles when there is room for more. */
  output(frame: LogFrame): Promise<void>;
  window(safe: number, upTo: number): void;
  notice(notice: Notice): void;
  /** The last word; then the socket is closed. */
  finish(status: Status): void;
  /** The peer does not keep to the protocol. */
  refuse(why: string): void;
}

const bufferedAtMostBytes = 256 * 1024;
const closeCodes = { normal: 1000, protocol: 1002 } as const;

export function peerOf(socket: WebSocket): AttachPeer {
  const codec = socket.protocol === attachProtocol ? offsets : channels;
  const peer: AttachPeer = {
    events: undefined,
    output: (frame) => sendWithRoom(socket, codec.output(frame)),
    window: (safe, upTo) => send(socket, codec.window(safe, upTo)),
    notice: (notice) => send(socket, codec.notice(notice)),
    finish: (status) => {
      send(socket, codec.status(JSON.stringify(status)));
      socket.close(closeCodes.normal);
    },
    refuse: (why) => socket.close(closeCodes.protocol, why.slice(0, 120)),
  };
  socket.on('message', (data: Buffer) => {
    if (peer.events) codec.received(data, peer.events);
  });
  return peer;
}

interface Codec {
  /** Undefined: nothing that this protocol has a message for. */
  output(frame: LogFrame): Buffer | undefined;
  window(safe: number, upTo: number): Buffer | undefined;
  notice(notice: Notice): Buffer | undefined;
  status(text: string): Buffer;
  received(message: Buffer, events: PeerEvents): void;
}

const offsets: Codec = {
  output: (frame) => encodeFromServer({ kind: 'output', frame }),
  window: (safe, upTo) => encodeFromServer({ kind: 'window', safe, upTo }),
  notice: (notice) => encodeFromServer({ kind: 'notice', notice }),
  status: (text) => encodeFromServer({ kind: 'status', text }),
  received: (bytes, events) => {
    const message = decodeFromClient(bytes);
    if (message?.kind === 'input') events.input(message.offset, message.bytes);
    else if (message?.kind === 'inputEnd') events.inputEnd(message.length);
    else if (message?.kind === 'resize') events.resize(message.rows, message.columns);
  },
};

const channels: Codec = {
  output: ({ stream, error, bytes }) => {
    if (bytes.length === 0) return undefined;
    if (error)
      return encodeChannelMessage({ kind: 'bytes', channel: channel.stderr, bytes: withNewline(bytes) });
    return encodeChannelMessage({
      kind: 'bytes',
      channel: stream === 2 ? channel.stderr : channel.stdout,
      bytes,
    });
  },
  window: () => undefined,
  notice: ({ kind, message }) =>
    kind === 'Problem' || kind === 'NoInput'
      ? encodeChannelMessage({
          kind: 'bytes',
          channel: channel.stderr,
          bytes: Buffer.from(`muster: ${message}\n`),
        })
      : undefined,
  status: (text) => encodeChannelMessage({ kind: 'status', text }),
  received: (bytes, events) => {
    const message = decodeChannelMessage(bytes);
    if (message?.kind === 'bytes' && message.channel === channel.stdin)
      events.input(undefined, message.bytes);
    else if (message?.kind === 'close' && message.channel === channel.stdin) events.inputEnd(undefined);
    else if (message?.kind === 'resize') events.resize(message.rows, message.columns);
  },
};

const withNewline = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.from('\n')]);

function send(socket: WebSocket, message: Buffer | undefined): void {
  if (message && socket.readyState === socket.OPEN) socket.send(message);
}

async function sendWithRoom(socket: WebSocket, message: Buffer | undefined): Promise<void> {
  if (!message || socket.readyState !== socket.OPEN) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.send(message, () => resolve());
  // A socket that is cut may never call back.
  socket.once('close', resolve);
  if (socket.bufferedAmount > bufferedAtMostBytes) await promise;
  socket.off('close', resolve);
}
