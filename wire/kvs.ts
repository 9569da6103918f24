// The key-value space of one process group, and the deltas that carry it between nodes.
//
// Ranks put pairs; a fence makes the puts of all ranks visible to all. What one fence adds is a Delta. Deltas of one
// fence may be merged in any order, any number of times, with the same outcome: of two values for one key put in the
// same fence the smaller one stands, and a key known from an earlier fence never changes. So every node of a job ends
// with the same space whatever was lost, resent or merged again on the way.
// Encoded deltas come from the network: decoding checks every bound. Two encoded deltas laid end to end are an encoded
// delta, so a merge point copies bytes and parses nothing. Strings are latin1: one character is one byte of the wire.

export type Delta = ReadonlyMap<string, string>;

export const emptyDelta: Delta = new Map();

/** Thrown by decoding only; the sender is at fault, the receiver's state is unchanged. */
export class DeltaError extends Error {
  readonly code = 'MUSTER_DELTA_MALFORMED';
  constructor(offset: number, expected: string) {
    super(
      `fence delta is malformed at byte ${String(offset)}: expected ${expected}; the sending agent is broken or of another version`,
    );
    this.name = 'DeltaError';
  }
}

const chunkMark = 0xd1; // a chunk: mark, body length (u32le), records; a record: key length, value length (varints), key, value
const chunkHeaderBytes = 5;
const maxFieldBytes = 1 << 20;

export function encodeDelta(delta: Delta): Buffer {
  if (delta.size === 0) return Buffer.alloc(0);
  let bodyBytes = 0;
  for (const [key, value] of delta) {
    bodyBytes += varintBytes(key.length) + varintBytes(value.length) + key.length + value.length;
  }
  const out = Buffer.allocUnsafe(chunkHeaderBytes + bodyBytes);
  out[0] = chunkMark;
  out.writeUInt32LE(bodyBytes, 1);
  let at = chunkHeaderBytes;
  for (const [key, value] of delta) {
    at = writeVarint(out, at, key.length);
    at = writeVarint(out, at, value.length);
    at += out.write(key, at, 'latin1');
    at += out.write(value, at, 'latin1');
  }
  return out;
}

export function decodeDelta(encoded: Uint8Array): Delta {
  if (encoded.byteLength === 0) return emptyDelta;
  const bytes = asBuffer(encoded);
  const delta = new Map<string, string>();
  walk(bytes, (keyAt, valueAt, end) => {
    addSmaller(delta, bytes.toString('latin1', keyAt, valueAt), bytes.toString('latin1', valueAt, end));
  });
  return delta;
}

/** Throws DeltaError when decodeDelta would; makes no strings. */
export function checkDelta(encoded: Uint8Array): void {
  walk(asBuffer(encoded), () => undefined);
}

/** Lays encoded deltas end to end: nothing is parsed, a pair that is in two of them stays twice until decoding. */
export function joinDeltas(parts: readonly Uint8Array[]): Buffer {
  return parts.length === 1 ? asBuffer(parts[0] as Uint8Array) : Buffer.concat(parts);
}

/** As joinDeltas, but each key once. For parts that are known to overlap. */
export function uniteDeltas(parts: readonly Uint8Array[]): Buffer {
  return encodeDelta(decodeDelta(joinDeltas(parts)));
}

export class KeyValueSpace {
  readonly #values = new Map<string, string>();
  #bytes = 0;

  /** Bytes of keys and values held. */
  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#values.size;
  }

  get(key: string): string | undefined {
    return this.#values.get(key);
  }

  /** Adds all puts of one fence. Calls must be made in the order of fences, once each. */
  add(deltas: readonly Delta[]): void {
    const known = new Set<string>(); // keys of earlier fences that this fence put again
    deltas.forEach((delta, index) => {
      for (const [key, value] of delta) {
        const standing = this.#values.get(key);
        if (standing === undefined) {
          this.#values.set(key, value);
          this.#bytes += key.length + value.length;
        } else if (!known.has(key)) {
          if (!hasBefore(deltas, index, key)) known.add(key);
          else if (value < standing) {
            this.#values.set(key, value);
            this.#bytes += value.length - standing.length;
          }
        }
      }
    });
  }
}

export function bytesOf(delta: Delta): number {
  let bytes = 0;
  for (const [key, value] of delta) bytes += key.length + value.length;
  return bytes;
}

function hasBefore(deltas: readonly Delta[], index: number, key: string): boolean {
  for (let i = 0; i < index; i++) if (deltas[i]?.has(key) === true) return true;
  return false;
}

function addSmaller(delta: Map<string, string>, key: string, value: string): void {
  const standing = delta.get(key);
  if (standing === undefined || value < standing) delta.set(key, value);
}

function walk(bytes: Buffer, record: (keyAt: number, valueAt: number, end: number) => void): void {
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] !== chunkMark)
      throw new DeltaError(at, `the chunk mark ${String(chunkMark)}, found ${String(bytes[at])}`);
    if (bytes.length - at < chunkHeaderBytes) throw new DeltaError(at, 'a whole chunk header');
    const bodyBytes = bytes.readUInt32LE(at + 1);
    at += chunkHeaderBytes;
    if (bodyBytes > bytes.length - at) {
      throw new DeltaError(at, `${String(bodyBytes)} bytes of chunk, found ${String(bytes.length - at)}`);
    }
    const end = at + bodyBytes;
    while (at < end) at = walkRecord(bytes, at, end, record);
  }
}

function walkRecord(
  bytes: Buffer,
  start: number,
  end: number,
  record: (keyAt: number, valueAt: number, end: number) => void,
): number {
  let at = start;
  const lengths: [number, number] = [0, 0];
  for (let field = 0; field < 2; field++) {
    let shift = 0;
    let length = 0;
    for (;;) {
      if (at >= end || shift > 21)
        throw new DeltaError(at, 'a length of at most four bytes within the chunk');
      const byte = bytes[at++] as number;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
      shift += 7;
    }
    if (length > maxFieldBytes)
      throw new DeltaError(at, `a field of at most ${String(maxFieldBytes)} bytes, found ${String(length)}`);
    lengths[field as 0 | 1] = length;
  }
  const [keyBytes, valueBytes] = lengths;
  if (keyBytes === 0) throw new DeltaError(at, 'a key of at least one byte');
  if (keyBytes + valueBytes > end - at)
    throw new DeltaError(at, `a pair of ${String(keyBytes + valueBytes)} bytes within the chunk`);
  record(at, at + keyBytes, at + keyBytes + valueBytes);
  return at + keyBytes + valueBytes;
}

function varintBytes(n: number): number {
  return n < 0x80 ? 1 : n < 0x4000 ? 2 : n < 0x200000 ? 3 : 4;
}

function writeVarint(out: Buffer, start: number, n: number): number {
  let at = start;
  let rest = n;
  while (rest >= 0x80) {
    out[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[at++] = rest;
  return at;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
