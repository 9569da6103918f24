// CRIU's image files as they lie on the disk: two magic numbers, then entries of protocol buffers, each after its length. It knows no
// entry's meaning, and takes no liberty: whoever reads a field that stands there once reads what CRIU reads, or is told that it is damaged.
const commonMagic = 0x54564319;
const lengthBytes = 4;

export interface Field {
  readonly number: number;
  /** With what says which it is. */
  readonly whole: Buffer;
  readonly content: Buffer;
  readonly isNumber: boolean;
}

const damaged = (what: string): Error => new Error(`MUSTER_IMAGE_DAMAGED: ${what} is not as CRIU writes it`);

/** After its magic numbers. `headerBytes`: 4 for the one file that has a single magic number. */
export function entriesOf(image: Uint8Array, what: string, headerBytes = 8): Buffer[] {
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  if (bytes.length < headerBytes || (headerBytes === 8 && bytes.readUInt32LE(0) !== commonMagic))
    throw damaged(what);
  const entries: Buffer[] = [];
  for (let at = headerBytes; at < bytes.length;) {
    if (at + lengthBytes > bytes.length) throw damaged(what);
    const end = at + lengthBytes + bytes.readUInt32LE(at);
    if (end > bytes.length) throw damaged(what);
    entries.push(bytes.subarray(at + lengthBytes, end));
    at = end;
  }
  return entries;
}

export function framed(entry: Buffer): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32LE(entry.length);
  return Buffer.concat([length, entry]);
}

export function fieldsOf(message: Buffer, what = 'an entry of an image'): Field[] {
  const fields: Field[] = [];
  for (let at = 0; at < message.length;) {
    const key = varint(message, at, what);
    const kind = key.value & 7;
    let [from, to] = [key.end, key.end];
    if (kind === 0) to = varint(message, from, what).end;
    else if (kind === 1) to = from + 8;
    else if (kind === 5) to = from + 4;
    else if (kind === 2) {
      const length = varint(message, from, what);
      [from, to] = [length.end, length.end + length.value];
    } else throw damaged(what);
    if (to > message.length) throw damaged(what);
    fields.push({
      number: key.value >>> 3,
      whole: message.subarray(at, to),
      content: message.subarray(from, to),
      isNumber: kind === 0,
    });
    at = to;
  }
  return fields;
}

export function lengthDelimited(number: number, content: Buffer): Buffer {
  const head: number[] = [(number << 3) | 2];
  let left = content.length;
  for (; left >= 0x80; left >>>= 7) head.push((left & 0x7f) | 0x80);
  head.push(left);
  return Buffer.concat([Buffer.from(head), content]);
}

/** Exact as far as it counts here: keys, lengths and ids are small, and what is larger is never equal to one that is. */
function varint(bytes: Buffer, from: number, what: string): { value: number; end: number } {
  let value = 0;
  for (let at = from, factor = 1; at < bytes.length && at < from + 10; at++, factor *= 128) {
    const byte = bytes[at] ?? 0;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, end: at + 1 };
  }
  throw damaged(what);
}

/** One entry, by its fields. A field that CRIU would join from several, or cut, is none. */
export class Entry {
  readonly #fields: readonly Field[];
  readonly #what: string;

  constructor(bytes: Buffer, what: string) {
    this.#fields = fieldsOf(bytes, what);
    this.#what = what;
  }

  /** Undefined: it is not there. */
  number(number: number): number | undefined {
    const numbers = this.numbers(number);
    if (numbers.length > 1) throw damaged(this.#what);
    return numbers[0];
  }

  numbers(number: number): number[] {
    return this.#all(number, true).map(({ content }) => {
      const { value } = varint(content, 0, this.#what);
      if (value > 0xffff_ffff) throw damaged(this.#what);
      return value;
    });
  }

  text(number: number): string | undefined {
    return this.#one(number)?.toString('utf8');
  }

  entries(number: number): Entry[] {
    return this.#all(number, false).map(({ content }) => new Entry(content, this.#what));
  }

  entry(number: number): Entry | undefined {
    const content = this.#one(number);
    return content && new Entry(content, this.#what);
  }

  #one(number: number): Buffer | undefined {
    const found = this.#all(number, false);
    if (found.length > 1) throw damaged(this.#what);
    return found[0]?.content;
  }

  #all(number: number, isNumber: boolean): Field[] {
    const found = this.#fields.filter((field) => field.number === number);
    if (found.some((field) => field.isNumber !== isNumber)) throw damaged(this.#what);
    return found;
  }
}
