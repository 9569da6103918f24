/**
 * Log output on its way from the API server to a reader: frames of a 24-byte header and bytes. Every frame carries its rank,
 * stream and offset, so a reader that lost its connection says what it has and goes on without a byte lost or doubled.
 * Header, little endian: u32 length, u32 rank, u8 stream (1, 2), u8 flags (1 = stream ended, 2 = text of an error, 4 = begun), u16 0,
 * u32 0, u64 offset. Pure.
 */
export interface LogFrame {
  readonly rank: number;
  readonly stream: number;
  readonly offset: number;
  readonly end: boolean;
  readonly error: boolean;
  /** Of no rank: all positions that the reading begins at have been told, in frames without bytes. */
  readonly begun?: boolean;
  readonly bytes: Buffer;
}

export const logFrameType = 'application/vnd.muster.log';
const headerBytes = 24;
const longestFrame = 4 * 1024 * 1024;

export function encodeLogFrame(frame: LogFrame): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(frame.bytes.length, 0);
  header.writeUInt32LE(frame.rank, 4);
  header.writeUInt8(frame.stream, 8);
  header.writeUInt8((frame.end ? 1 : 0) | (frame.error ? 2 : 0) | (frame.begun ? 4 : 0), 9);
  header.writeBigUInt64LE(BigInt(frame.offset), 16);
  return Buffer.concat([header, frame.bytes]);
}

/** Cuts frames out of a byte stream that arrives in any pieces. Throws on a length that no server of ours sends. */
export class LogFrameReader {
  #pending: Buffer[] = [];
  #size = 0;

  push(bytes: Buffer): LogFrame[] {
    this.#pending.push(bytes);
    this.#size += bytes.length;
    const frames: LogFrame[] = [];
    while (this.#size >= headerBytes) {
      const all = this.#pending.length === 1 ? this.#pending[0]! : Buffer.concat(this.#pending);
      this.#pending = [all];
      const length = all.readUInt32LE(0);
      if (length > longestFrame) throw new Error(`MUSTER_LOG_FRAME: a frame of ${length} bytes`);
      if (all.length < headerBytes + length) break;
      const flags = all.readUInt8(9);
      frames.push({
        rank: all.readUInt32LE(4),
        stream: all.readUInt8(8),
        offset: Number(all.readBigUInt64LE(16)),
        end: (flags & 1) !== 0,
        error: (flags & 2) !== 0,
        ...((flags & 4) === 0 ? {} : { begun: true }),
        bytes: all.subarray(headerBytes, headerBytes + length),
      });
      const rest = all.subarray(headerBytes + length);
      this.#pending = rest.length === 0 ? [] : [rest];
      this.#size = rest.length;
    }
    return frames;
  }
}

/** What a reader has already, per rank and stream: `3.1@4096` = rank 3, stdout, up to offset 4096. */
export function formatPositions(positions: ReadonlyMap<string, number>): string {
  return [...positions].map(([key, offset]) => `${key}@${offset}`).join(',');
}

export function parsePositions(text: string): { rank: number; stream: number; offset: number }[] {
  if (text === '') return [];
  return text.split(',').map((item) => {
    const match = /^(\d{1,7})\.([12])@(\d{1,15})$/.exec(item);
    if (!match) throw new Error(`MUSTER_LOG_POSITION: "${item.slice(0, 40)}": expected RANK.STREAM@OFFSET`);
    return { rank: Number(match[1]), stream: Number(match[2]), offset: Number(match[3]) };
  });
}
