// What CRIU has left out of an image whose pages follow: its page maps name every page of a process, and mark those that are not in the
// image. Read, and told of more that it lacks. Bytes in, plain data or bytes out.
import protobuf from 'protobufjs/light.js';
import { framed } from './criu-images.ts';

const imageMagic = 0x54564319;
const pagemapMagic = 0x56084025;
const lazyFlag = 1 << 1;
const presentFlag = 1 << 2;
const headerBytes = 8;
const pageBytes = 4096;

export interface MissingPages {
  readonly address: number;
  readonly pages: number;
}

const { Entry } = protobuf.Root.fromJSON({
  nested: {
    Entry: {
      fields: {
        address: { id: 1, type: 'uint64' },
        fewPages: { id: 2, type: 'uint32' },
        flags: { id: 4, type: 'uint32' },
        pages: { id: 5, type: 'uint64' },
      },
    },
  },
}).nested as Record<string, protobuf.Type>;
const entryMessage = Entry!;

interface EntryFields {
  readonly address: number;
  readonly fewPages: number;
  readonly flags: number;
  readonly pages: number;
}

/** The process, as the sandbox numbers it, of which the file is the page map; undefined: it is another file. */
export function processOfPagemap(fileName: string): number | undefined {
  const pid = /^pagemap-(\d+)\.img$/.exec(fileName)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** Throws on bytes that are no page map. */
export function missingPagesOf(bytes: Buffer): MissingPages[] {
  return messagesOf(bytes)
    .slice(1)
    .map(({ content }) => entryOf(content))
    .filter(({ flags }) => (flags & lazyFlag) !== 0 && (flags & presentFlag) === 0)
    .map(({ address, fewPages, pages }) => ({ address, pages: pages > 0 ? pages : fewPages }));
}

/** The page map with these, too, as pages that are not in the image, and every page that is in it to be there before anything runs. */
export function withMissing(bytes: Buffer, missing: readonly MissingPages[]): Buffer {
  const [head, ...entries] = messagesOf(bytes);
  const named = entries.map(({ whole, content }) => {
    const { address, fewPages, flags, pages } = entryOf(content);
    const count = pages > 0 ? pages : fewPages;
    const isBoth = (flags & lazyFlag) !== 0 && (flags & presentFlag) !== 0;
    const part = isBoth ? entryBytes(address, count, flags & ~lazyFlag) : whole;
    return { start: address, end: address + count * pageBytes, part };
  });
  const parts: Buffer[] = [];
  let next = 0;
  /** What is named before the address. */
  const take = (address: number): void => {
    for (; next < named.length && named[next]!.start < address; next++) parts.push(named[next]!.part);
  };
  let until = 0;
  for (const { address, pages } of missing.toSorted((one, other) => one.address - other.address)) {
    const end = address + pages * pageBytes;
    let start = Math.max(address, until);
    until = Math.max(until, end);
    while (start < end) {
      take(start + 1);
      start = Math.max(start, named[next - 1]?.end ?? 0);
      const gapEnd = Math.min(end, named[next]?.start ?? end);
      if (start < gapEnd) parts.push(entryBytes(start, (gapEnd - start) / pageBytes, lazyFlag));
      start = Math.max(start, gapEnd);
    }
  }
  take(Infinity);
  return Buffer.concat([bytes.subarray(0, headerBytes), ...(head ? [head.whole] : []), ...parts]);
}

function entryBytes(address: number, pages: number, flags: number): Buffer {
  const fewPages = Math.min(pages, 0xffff_ffff);
  return framed(Buffer.from(entryMessage.encode({ address, fewPages, flags, pages }).finish()));
}

const entryOf = (content: Buffer): EntryFields =>
  entryMessage.toObject(entryMessage.decode(content), { longs: Number, defaults: true }) as EntryFields;

function messagesOf(bytes: Buffer): { whole: Buffer; content: Buffer }[] {
  if (bytes.readUInt32LE(0) !== imageMagic || bytes.readUInt32LE(4) !== pagemapMagic)
    throw new Error('MUSTER_IMAGE_UNKNOWN: a page map of another kind than this build reads');
  const messages = [];
  for (let at = headerBytes; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32LE(at);
    if (end > bytes.length) throw new Error('MUSTER_IMAGE_UNKNOWN: a page map that ends too early');
    messages.push({ whole: bytes.subarray(at, end), content: bytes.subarray(at + 4, end) });
    at = end;
  }
  return messages;
}

/** As native/pager reads it: pid, pages, address. */
export function tableOf(missing: ReadonlyMap<number, readonly MissingPages[]>): Buffer {
  const lines = [...missing].flatMap(([pid, runs]) => runs.map((run) => ({ pid, ...run })));
  const table = Buffer.alloc(lines.length * 16);
  lines.forEach(({ pid, pages, address }, line) => {
    table.writeUInt32LE(pid, line * 16);
    table.writeUInt32LE(pages, line * 16 + 4);
    table.writeBigUInt64LE(BigInt(address), line * 16 + 8);
  });
  return table;
}
