/**
 * The lines of journal and snapshot files. A frame is one line, `CRC LENGTH JSON\n`: checksum of the JSON's bytes in
 * hex, their number, the JSON. It is whole or it is nothing; one frame of the journal is one batch of writes, so a
 * torn batch is dropped as one. Zero bytes at the end are room that was set aside for more. Pure: bytes in, frames and
 * the ranges it could not read out.
 */
import { crc32 } from 'node:zlib';

const newline = 0x0a;

export function encodeFrame(json: string): Buffer {
  const body = Buffer.from(json, 'utf8');
  const head = `${crc32(body).toString(16).padStart(8, '0')} ${body.length} `;
  const frame = Buffer.allocUnsafe(head.length + body.length + 1);
  frame.write(head, 0, 'latin1');
  body.copy(frame, head.length);
  frame[frame.length - 1] = newline;
  return frame;
}

export interface Damage {
  readonly from: number;
  readonly to: number;
}

export interface Frames {
  /** The readable frames, in order, with where each begins. */
  readonly frames: readonly { readonly at: number; readonly value: unknown }[];
  /** What is not a frame; the last one may reach to the end of the file (a torn tail). */
  readonly damage: readonly Damage[];
  /** Where the room for more begins. */
  readonly end: number;
}

export function decodeFrames(bytes: Uint8Array): Frames {
  let used = bytes.length;
  while (used > 0 && bytes[used - 1] === 0) used -= 1;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, used);
  const frames: { at: number; value: unknown }[] = [];
  const damage: { from: number; to: number }[] = [];
  let at = 0;
  while (at < buffer.length) {
    const end = buffer.indexOf(newline, at);
    const next = end < 0 ? buffer.length : end + 1;
    const value = end < 0 ? undefined : decodeLine(buffer.subarray(at, end));
    const last = damage.at(-1);
    if (value !== undefined) frames.push({ at, value: value.json });
    else if (last?.to === at) last.to = next;
    else damage.push({ from: at, to: next });
    at = next;
  }
  return { frames, damage, end: used };
}

function decodeLine(line: Buffer): { json: unknown } | undefined {
  const head = /^([0-9a-f]{8}) (\d{1,10}) /.exec(line.toString('latin1', 0, 20));
  if (!head) return undefined;
  const body = line.subarray(head[0].length);
  if (body.length !== Number(head[2]) || crc32(body) !== Number.parseInt(head[1]!, 16)) return undefined;
  try {
    return { json: JSON.parse(body.toString('utf8')) as unknown };
  } catch {
    return undefined;
  }
}
