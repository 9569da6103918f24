/**
 * The messages of `v5.channel.k8s.io`, in which kubectl and other clients of Kubernetes attach and execute over WebSockets: plain
 * bytes on numbered channels, a Status at the end, and a close of one channel. It has no offsets: what is on its way when the
 * connection is cut is lost. Pure.
 */
import { sizeOf } from './attach-frames.ts';

export const channelProtocol = 'v5.channel.k8s.io';

export const channel = { stdin: 0, stdout: 1, stderr: 2, status: 3, resize: 4, close: 255 } as const;

export type ChannelMessage =
  | { readonly kind: 'bytes'; readonly channel: 0 | 1 | 2; readonly bytes: Buffer }
  | { readonly kind: 'status'; readonly text: string }
  | { readonly kind: 'resize'; readonly rows: number; readonly columns: number }
  | { readonly kind: 'close'; readonly channel: number };

export function encodeChannelMessage(message: ChannelMessage): Buffer {
  switch (message.kind) {
    case 'bytes':
      return Buffer.concat([Buffer.of(message.channel), message.bytes]);
    case 'status':
      return Buffer.concat([Buffer.of(channel.status), Buffer.from(message.text)]);
    case 'resize': {
      const size = JSON.stringify({ Width: message.columns, Height: message.rows });
      return Buffer.concat([Buffer.of(channel.resize), Buffer.from(size)]);
    }
    case 'close':
      return Buffer.of(channel.close, message.channel);
  }
}

/** Undefined: it makes no sense, and is passed over. */
export function decodeChannelMessage(bytes: Buffer): ChannelMessage | undefined {
  const first = bytes[0];
  const body = bytes.subarray(1);
  switch (first) {
    case channel.stdin:
    case channel.stdout:
    case channel.stderr:
      return { kind: 'bytes', channel: first, bytes: body };
    case channel.status:
      return { kind: 'status', text: body.toString('utf8') };
    case channel.resize:
      return sizeOf(body);
    case channel.close:
      return body[0] === undefined ? undefined : { kind: 'close', channel: body[0] };
    default:
      return undefined;
  }
}
