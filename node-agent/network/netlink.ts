// rtnetlink messages as bytes: header, fixed part, attributes that nest (netlink(7), rtnetlink(7)). Encodes requests, takes
// answers apart, and turns the kernel's refusal into an error with its own words. It knows nothing of what links are for.

/** An attribute's value: bytes, a number of 32 bits, a name, or attributes within it. */
export type Value = Uint8Array | number | string | readonly Attribute[];
export type Attribute = readonly [type: number, value: Value];

export const flags = {
  request: 0x1,
  ack: 0x4,
  dump: 0x300,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  append: 0x800,
};

const headerBytes = 16;
const errorType = 2;
const doneType = 3;
const nested = 0x8000;
const typeMask = 0x3fff;
/** NLMSGERR_ATTR_MSG, and the flag that says there are such attributes. */
const errorText = 1;
const hasErrorText = 0x200;

const aligned = (length: number): number => (length + 3) & ~3;

function encodeValue(value: Value): Buffer {
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value >>> 0);
    return bytes;
  }
  if (typeof value === 'string') return Buffer.from(`${value}\0`);
  if (value instanceof Uint8Array) return Buffer.from(value);
  return encodeAttributes(value);
}

export function encodeAttributes(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(
    attributes.map(([type, value]) => {
      const content = encodeValue(value);
      const bytes = Buffer.alloc(aligned(4 + content.length));
      bytes.writeUInt16LE(4 + content.length, 0);
      bytes.writeUInt16LE(Array.isArray(value) ? type | nested : type, 2);
      content.copy(bytes, 4);
      return bytes;
    }),
  );
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  /** The fixed part that this type begins with, such as struct ifinfomsg. */
  readonly fixed: Uint8Array;
  readonly attributes: readonly Attribute[];
}

/** Answers carry the same sequence number. */
export function encodeMessage({ type, flags: bits, fixed, attributes }: Message, sequence = 0): Buffer {
  const body = Buffer.concat([fixed, encodeAttributes(attributes)]);
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(headerBytes + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(bits | flags.request, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, body]);
}

/** Attributes of an answer by type; of several with one type the last. */
export function decodeAttributes(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = bytes.readUInt16LE(at);
    if (length < 4 || at + length > bytes.length) break;
    found.set(bytes.readUInt16LE(at + 2) & typeMask, bytes.subarray(at + 4, at + length));
    at += aligned(length);
  }
  return found;
}

export const textOf = (value: Buffer | undefined): string =>
  value?.toString('utf8').replace(/\0.*$/s, '') ?? '';

export interface Answer {
  readonly sequence: number;
  readonly type: number;
  readonly body: Buffer;
}

/** A refusal: errno as a positive number, and what the kernel said beside it. */
export interface Refusal {
  readonly sequence: number;
  readonly errno: number;
  readonly text: string;
}

export interface Answers {
  readonly answers: Answer[];
  readonly refusals: Refusal[];
}

/** Takes apart what requests were answered with. */
export function decodeAnswers(bytes: Buffer): Answers {
  const [answers, refusals]: [Answer[], Refusal[]] = [[], []];
  for (let at = 0; at + headerBytes <= bytes.length;) {
    const length = bytes.readUInt32LE(at);
    if (length < headerBytes || at + length > bytes.length) break;
    const type = bytes.readUInt16LE(at + 4);
    const body = bytes.subarray(at + headerBytes, at + length);
    const sequence = bytes.readUInt32LE(at + 8);
    if (type === errorType || type === doneType) {
      const errno = body.length >= 4 ? -body.readInt32LE(0) : 0;
      const text = refusalText(body, bytes.readUInt16LE(at + 6));
      if (errno !== 0) refusals.push({ sequence, errno, text });
    } else {
      answers.push({ sequence, type, body });
    }
    at += aligned(length);
  }
  return { answers, refusals };
}

/** struct nlmsgerr: errno, then the header of the request (its payload is left out when capped), then attributes. */
function refusalText(body: Buffer, bits: number): string {
  if ((bits & hasErrorText) === 0 || body.length < 4 + headerBytes) return '';
  const capped = (bits & 0x100) !== 0;
  const after = 4 + (capped ? headerBytes : aligned(body.readUInt32LE(4)));
  return textOf(decodeAttributes(body.subarray(after)).get(errorText));
}
