import { expect, it } from 'vitest';
import { anonymousRangesOf, apartTable, tellsOfPages } from './pages-apart.ts';

const maps = `00400000-00500000 r-xp 00000000 08:01 1234 /bin/program
01000000-01100000 rw-p 00000000 00:00 0          [heap]
02000000-02001000 rw-p 00000000 00:00 0 
7f0000000000-7f0080000000 rw-p 00000000 00:00 0 
7f0090000000-7f0090100000 ---p 00000000 00:00 0  [anon:arena of a thread]
7f00a0000000-7f00a0100000 rw-s 00000000 00:01 77 /dev/zero (deleted)
7f00b0000000-7f00b0200000 rw-p 00000000 00:11 78 /anon_hugepage (deleted)
7f00c0000000-7f00c0100000 rw-s 00000000 00:00 0  [anon_shmem:shared]
7ffd00000000-7ffd00100000 rw-p 00000000 00:00 0  [stack]
7ffd00200000-7ffd00300000 r--p 00000000 00:00 0  [vvar]
`;

it('takes large anonymous private mappings, and no others', () => {
  expect(anonymousRangesOf(maps)).toEqual([
    { start: 0x1000000n, end: 0x1100000n },
    { start: 0x7f0000000000n, end: 0x7f0080000000n },
    { start: 0x7f0090000000n, end: 0x7f0090100000n },
  ]);
});

it('leaves locked memory to CRIU', () => {
  const smaps = `7f0000000000-7f0080000000 rw-p 00000000 00:00 0 
Size:            2097152 kB
VmFlags: rd wr mr mw me lo ac sd 
7f0090000000-7f0090100000 rw-p 00000000 00:00 0 
VmFlags: rd wr mr mw me ac sd 
`;
  expect(anonymousRangesOf(smaps)).toEqual([{ start: 0x7f0090000000n, end: 0x7f0090100000n }]);
});

it('knows kernels that tell of pages', () => {
  const releases = ['6.18.44-fc-v657', '6.7', '6.6.9', '5.15.0-generic', '7.0.1'];
  expect(releases.map(tellsOfPages)).toEqual([true, true, false, false, true]);
});

it('writes ranges as the library reads them, by process', () => {
  const range = { start: 0x10000n, end: 0x20000n };
  const table = apartTable([
    { pid: 9, inner: 2, ranges: [range] },
    { pid: 7, inner: 3, ranges: [range] },
  ]);
  expect(table.length).toBe(48);
  expect([table.readUInt32LE(0), table.readUInt32LE(4)]).toEqual([7, 3]);
  expect([table.readBigUInt64LE(32), table.readBigUInt64LE(40)]).toEqual([0x10000n, 0x20000n]);
});
