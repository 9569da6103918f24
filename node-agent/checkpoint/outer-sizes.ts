// Files that an image has from outside may grow while it is taken: the spool of standard input does whenever somebody writes it. CRIU
// notes how long each was when it came by, and restores with no other; what of the spool belongs to the image is settled elsewhere
// (cut.ts), so its length is taken out of the image. It knows of CRIU's format no more than it needs: entries of protocol buffers,
// each after its length, behind two magic numbers; in them the fields of file_entry and reg_file_entry that are named here.
const headerBytes = 8;
const lengthBytes = 4;
const reg = 3;
const size = 8;
const ext = 9;

/** CRIU's files.img without the lengths of files from outside. Throws when it is something else. */
export function withoutOuterSizes(image: Uint8Array): Buffer {
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  const parts: Buffer[] = [bytes.subarray(0, headerBytes)];
  for (let at = headerBytes; at < bytes.length;) {
    const end = at + lengthBytes + bytes.readUInt32LE(at);
    const entry = bytes.subarray(at + lengthBytes, end);
    if (end > bytes.length) throw damaged();
    const fields = fieldsOf(entry).map((field) =>
      field.number === reg ? lengthDelimited(reg, withoutSize(field.content)) : field.whole,
    );
    parts.push(framed(Buffer.concat(fields)));
    at = end;
  }
  return Buffer.concat(parts);
}

function withoutSize(entry: Buffer): Buffer {
  const fields = fieldsOf(entry);
  if (!fields.some(({ number, content }) => number === ext && content[0] === 1)) return entry;
  return Buffer.concat(fields.filter(({ number }) => number !== size).map(({ whole }) => whole));
}

interface Field {
  readonly number: number;
  /** With what says which it is. */
  readonly whole: Buffer;
  readonly content: Buffer;
}

function fieldsOf(message: Buffer): Field[] {
  const fields: Field[] = [];
  for (let at = 0; at < message.length;) {
    const key = varint(message, at);
    const kind = key.value & 7;
    let [from, to] = [key.end, key.end];
    if (kind === 0) to = varint(message, from).end;
    else if (kind === 1) to = from + 8;
    else if (kind === 5) to = from + 4;
    else if (kind === 2) {
      const length = varint(message, from);
      [from, to] = [length.end, length.end + length.value];
    } else throw damaged();
    if (to > message.length) throw damaged();
    fields.push({
      number: key.value >>> 3,
      whole: message.subarray(at, to),
      content: message.subarray(from, to),
    });
    at = to;
  }
  return fields;
}

/** Exact as far as it counts here: keys and lengths are small. */
function varint(bytes: Buffer, from: number): { value: number; end: number } {
  let value = 0;
  for (let at = from, factor = 1; at < bytes.length; at++, factor *= 128) {
    const byte = bytes[at] ?? 0;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, end: at + 1 };
  }
  throw damaged();
}

function lengthDelimited(number: number, content: Buffer): Buffer {
  const head: number[] = [(number << 3) | 2];
  let left = content.length;
  for (; left >= 0x80; left >>>= 7) head.push((left & 0x7f) | 0x80);
  head.push(left);
  return Buffer.concat([Buffer.from(head), content]);
}

function framed(entry: Buffer): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32LE(entry.length);
  return Buffer.concat([length, entry]);
}

const damaged = (): Error => new Error('MUSTER_IMAGE_DAMAGED: files.img is not as CRIU writes it');
