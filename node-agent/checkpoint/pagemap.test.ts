import { expect, it } from 'vitest';
import { missingPagesOf, processOfPagemap, tableOf, withMissing } from './pagemap.ts';

/** As CRIU writes them: two magic numbers, then messages behind their lengths; the first is another kind of message. */
function pagemapOf(...entries: readonly (readonly number[])[]): Buffer {
  const magic = Buffer.alloc(8);
  magic.writeUInt32LE(0x54564319, 0);
  magic.writeUInt32LE(0x56084025, 4);
  const parts = [[8, 1], ...entries].flatMap((entry) => [
    Buffer.from([entry.length, 0, 0, 0]),
    Buffer.from(entry),
  ]);
  return Buffer.concat([magic, ...parts]);
}

/** Field 1 address, 2 and 5 pages, 4 flags: lazy 2, present 4. */
const entry = (page: number, pages: number, flags: number): number[] => [
  8,
  128,
  ((32 * page) & 127) | 128,
  page >> 2,
  16,
  pages,
  32,
  flags,
];

it('names pages that are not in the image, and no others', () => {
  const bytes = pagemapOf(entry(1, 3, 2), entry(2, 1, 4), entry(3, 7, 6), [...entry(1, 0, 2), 40, 200, 1]);
  expect(missingPagesOf(bytes)).toEqual([
    { address: 4096, pages: 3 },
    { address: 4096, pages: 200 },
  ]);
});

it('is told of more pages that are not in the image, beside those that it names', () => {
  const bytes = pagemapOf(entry(2, 2, 4), entry(6, 1, 2), entry(9, 1, 4));
  const asBefore = (missing: Parameters<typeof withMissing>[1]) => withMissing(bytes, missing).equals(bytes);
  const page = (at: number, pages: number) => ({ address: at * 4096, pages });
  // Twice, in any order, and over what is named.
  const told = withMissing(bytes, [page(8, 4), page(0, 3), page(1, 2), page(3, 2), page(5, 2)]);
  expect(missingPagesOf(told)).toEqual([
    page(0, 2),
    page(4, 1),
    page(5, 1),
    page(6, 1),
    page(8, 1),
    page(10, 2),
  ]);
  expect(asBefore([page(2, 2), page(6, 1)])).toBe(true);
  // What is in the image is not to be waited for.
  const both = withMissing(pagemapOf(entry(2, 2, 6)), []);
  expect(both.equals(withMissing(pagemapOf(entry(2, 2, 4)), []))).toBe(false);
  expect(both.includes(Buffer.from([32, 4]))).toBe(true);
  const far = { address: 0x7f7f_0127_5000, pages: 524_290 };
  expect(missingPagesOf(withMissing(bytes, [far]))).toEqual([page(6, 1), far]);
});

it('refuses what is no page map', () => {
  expect(() => missingPagesOf(Buffer.alloc(16))).toThrow('MUSTER_IMAGE_UNKNOWN');
  expect(() => missingPagesOf(pagemapOf(entry(1, 3, 2)).subarray(0, -1))).toThrow('ends too early');
});

it('knows page maps by their names', () => {
  expect(['pagemap-17.img', 'pagemap-shmem-5.img', 'pages-1.img'].map(processOfPagemap)).toEqual([
    17,
    undefined,
    undefined,
  ]);
});

it('writes the table that the pager reads', () => {
  const table = tableOf(new Map([[7, [{ address: 0x7f00_0000_1000, pages: 2 }]]]));
  expect(table.toString('hex')).toBe('0700000002000000001000' + '00007f0000');
});
