/**
 * The messages of `v1.attach.muster.dev`, the WebSocket protocol in which a cut connection loses and doubles no byte: all output
 * carries rank, stream and offset, all input an offset, and the server says how much of the input is safe and how much more it
 * takes. The first byte of a message is its channel, numbered as Kubernetes' own protocol numbers them. Bytes come from the
 * network: a message that makes no sense is `undefined`, never a throw. Pure.
 */
import { encodeLogFrame, type LogFrame, LogFrameReader } from './log-frames.ts';

export const attachProtocol = 'v1.attach.muster.dev';

/** What a client should know beside bytes; more may be added. */
export interface Notice {
  /** Begun: all positions from which this connection reads are known to the client. */
  readonly kind: 'Begun' | 'Waiting' | 'Suspended' | 'Running' | 'NoInput' | 'Problem';
  readonly message: string;
  /** Of a condition. */
  readonly reason?: string;
}

export type FromClient =
  | { readonly kind: 'input'; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'inputEnd'; readonly length: number }
  | { readonly kind: 'resize'; readonly rows: number; readonly columns: number };

export type FromServer =
  | { readonly kind: 'output'; readonly frame: LogFrame }
  /** A Status object of Kubernetes as text; the last message. */
  | { readonly kind: 'status'; readonly text: string }
  /** Input up to `safe` will be delivered whatever happens; input up to `upTo` may be sent. */
  | { readonly kind: 'window'; readonly safe: number; readonly upTo: number }
  | { readonly kind: 'notice'; readonly notice: Notice };

const channels = { input: 0, output: 1, status: 3, resize: 4, window: 5, notice: 6, close: 255 } as const;
const longestTerminal = 65_535;

export function encodeFromClient(message: FromClient): Buffer {
  switch (message.kind) {
    case 'input':
      return Buffer.concat([numbered(channels.input, message.offset), message.bytes]);
    case 'inputEnd':
      return numbered(channels.close, message.length);
    case 'resize':
      return onChannel(channels.resize, JSON.stringify({ Width: message.columns, Height: message.rows }));
  }
}

export function encodeFromServer(message: FromServer): Buffer {
  switch (message.kind) {
    case 'output':
      return Buffer.concat([Buffer.of(channels.output), encodeLogFrame(message.frame)]);
    case 'status':
      return onChannel(channels.status, message.text);
    case 'window':
      return numbered(channels.window, message.safe, message.upTo);
    case 'notice':
      return onChannel(channels.notice, JSON.stringify(message.notice));
  }
}

export function decodeFromClient(bytes: Buffer): FromClient | undefined {
  switch (bytes[0]) {
    case channels.input: {
      const offset = numberAt(bytes, 1);
      return offset === undefined ? undefined : { kind: 'input', offset, bytes: bytes.subarray(9) };
    }
    case channels.close: {
      const length = numberAt(bytes, 1);
      return length === undefined ? undefined : { kind: 'inputEnd', length };
    }
    case channels.resize:
      return sizeOf(bytes.subarray(1));
    default:
      return undefined;
  }
}

export function decodeFromServer(bytes: Buffer): FromServer | undefined {
  const body = bytes.subarray(1);
  switch (bytes[0]) {
    case channels.output: {
      const frame = frameOf(body);
      return frame && { kind: 'output', frame };
    }
    case channels.status:
      return { kind: 'status', text: body.toString('utf8') };
    case channels.window: {
      const [safe, upTo] = [numberAt(bytes, 1), numberAt(bytes, 9)];
      return safe === undefined || upTo === undefined ? undefined : { kind: 'window', safe, upTo };
    }
    case channels.notice: {
      const notice = objectOf(body) as Partial<Notice> | undefined;
      if (typeof notice?.kind !== 'string' || typeof notice.message !== 'string') return undefined;
      const reason = typeof notice.reason === 'string' ? { reason: notice.reason } : {};
      return { kind: 'notice', notice: { kind: notice.kind, message: notice.message, ...reason } };
    }
    default:
      return undefined;
  }
}

function frameOf(bytes: Buffer): LogFrame | undefined {
  try {
    return new LogFrameReader().push(bytes)[0];
  } catch {
    return undefined;
  }
}

/** A terminal's size, as both protocols tell it. */
export function sizeOf(text: Buffer): { kind: 'resize'; rows: number; columns: number } | undefined {
  const { Width, Height } = (objectOf(text) ?? {}) as { Width?: unknown; Height?: unknown };
  if (!isSize(Width) || !isSize(Height)) return undefined;
  return { kind: 'resize', rows: Height, columns: Width };
}

const isSize = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= longestTerminal;

function objectOf(text: Buffer): object | undefined {
  try {
    const value: unknown = JSON.parse(text.toString('utf8'));
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

const onChannel = (channel: number, text: string): Buffer =>
  Buffer.concat([Buffer.of(channel), Buffer.from(text)]);

function numbered(channel: number, ...numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(1 + 8 * numbers.length);
  bytes[0] = channel;
  numbers.forEach((number, index) => bytes.writeBigUInt64LE(BigInt(number), 1 + 8 * index));
  return bytes;
}

function numberAt(bytes: Buffer, at: number): number | undefined {
  if (bytes.length < at + 8) return undefined;
  const value = Number(bytes.readBigUInt64LE(at));
  return Number.isSafeInteger(value) ? value : undefined;
}
