// Images of CRIU's as somebody could make them who knows their format: one field of an entry said otherwise, or once more; a device of
// an archive made a disk.
import {
  entriesOf,
  fieldsOf,
  framed,
  lengthDelimited,
  type Field,
} from '../../node-agent/checkpoint/criu-images.ts';

export type Change = ((bytes: Buffer) => Buffer) | 'block device';

export const changed = (bytes: Buffer, change: Change): Buffer =>
  change === 'block device' ? withBlockDevice(bytes) : change(bytes);

/** In the first entry that has it; `path` leads to the message. */
export const setField = (path: readonly number[], field: number, value: number | string): Change =>
  edited(path, (fields) => {
    const at = fields.findIndex(({ number }) => number === field);
    return at < 0 ? null : fields.map(({ whole }, each) => (each === at ? encoded(field, value) : whole));
  });

export const addField = (path: readonly number[], field: number, value: number): Change =>
  edited(path, (fields) => [...fields.map(({ whole }) => whole), encoded(field, value)]);

type Edit = (fields: readonly Field[]) => Buffer[] | null;

function edited(path: readonly number[], edit: Edit): (image: Buffer) => Buffer {
  return (image) => {
    let done = false;
    const entries = entriesOf(image, 'image').map((entry) => {
      const now = done ? null : within(entry, path, edit);
      done ||= now !== null;
      return framed(now ?? entry);
    });
    if (!done) throw new Error('there is no such field to forge');
    return Buffer.concat([image.subarray(0, 8), ...entries]);
  };
}

function within(message: Buffer, [next, ...path]: readonly number[], edit: Edit): Buffer | null {
  const fields = fieldsOf(message);
  if (next === undefined) {
    const parts = edit(fields);
    return parts && Buffer.concat(parts);
  }
  const at = fields.findIndex(({ number }) => number === next);
  const inner = fields[at] && within(fields[at].content, path, edit);
  if (!inner) return null;
  return Buffer.concat(fields.map(({ whole }, each) => (each === at ? lengthDelimited(next, inner) : whole)));
}

function encoded(field: number, value: number | string): Buffer {
  if (typeof value === 'string') return lengthDelimited(field, Buffer.from(value));
  return Buffer.from([...varint(field * 8), ...varint(value)]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) bytes.push((left % 0x80) | 0x80);
  return [...bytes, left];
}

/** Its urandom, with the sum of its header as it has to be. */
function withBlockDevice(archive: Buffer): Buffer {
  const bytes = Buffer.from(archive);
  const header = bytes.subarray(bytes.indexOf('./urandom')).subarray(0, 512);
  header.write('4', 156, 'latin1');
  header.fill(' ', 148, 156);
  const sum = header.reduce((all, byte) => all + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}
