// What CRIU has left out of an image whose pages follow: its page maps name every page of a process, and mark those that are not in the
// image. Bytes in, plain data out.
import protobuf from 'protobufjs/light.js';

const imageMagic = 0x54564319;
const pagemapMagic = 0x56084025;
const lazyFlag = 1 << 1;
const presentFlag = 1 << 2;

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
  if (bytes.readUInt32LE(0) !== imageMagic || bytes.readUInt32LE(4) !== pagemapMagic)
    throw new Error('MUSTER_IMAGE_UNKNOWN: a page map of another kind than this build reads');
  const missing: MissingPages[] = [];
  let isHead = true;
  for (let at = 8; at < bytes.length;) {
    const length = bytes.readUInt32LE(at);
    at += 4;
    if (at + length > bytes.length) throw new Error('MUSTER_IMAGE_UNKNOWN: a page map that ends too early');
    if (!isHead) {
      const { address, fewPages, flags, pages } = entryMessage.toObject(
        entryMessage.decode(bytes.subarray(at, at + length)),
        { longs: Number, defaults: true },
      ) as EntryFields;
      if ((flags & lazyFlag) !== 0 && (flags & presentFlag) === 0)
        missing.push({ address, pages: pages > 0 ? pages : fewPages });
    }
    isHead = false;
    at += length;
  }
  return missing;
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
