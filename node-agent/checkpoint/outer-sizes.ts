// Files that an image has from outside may grow while it is taken: the spool of standard input does whenever somebody writes it. CRIU
// notes how long each was when it came by, and restores with no other; what of the spool belongs to the image is settled elsewhere
// (cut.ts), so its length is taken out of the image. It knows of CRIU's format no more than it needs: the fields of file_entry and
// reg_file_entry that are named here.
import { entriesOf, fieldsOf, framed, lengthDelimited } from './criu-images.ts';

const headerBytes = 8;
const reg = 3;
const size = 8;
const ext = 9;

/** CRIU's files.img without the lengths of files from outside. Throws when it is something else. */
export function withoutOuterSizes(image: Uint8Array): Buffer {
  const entries = entriesOf(image, 'files.img').map((entry) => {
    const fields = fieldsOf(entry, 'files.img').map((field) =>
      field.number === reg ? lengthDelimited(reg, withoutSize(field.content)) : field.whole,
    );
    return framed(Buffer.concat(fields));
  });
  return Buffer.concat([Buffer.from(image.buffer, image.byteOffset, headerBytes), ...entries]);
}

function withoutSize(entry: Buffer): Buffer {
  const fields = fieldsOf(entry, 'files.img');
  if (!fields.some(({ number, content }) => number === ext && content[0] === 1)) return entry;
  return Buffer.concat(fields.filter(({ number }) => number !== size).map(({ whole }) => whole));
}
