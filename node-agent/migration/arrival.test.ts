import { mkdtempSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { ImageChunk } from '../../wire/agent-types.ts';
import { manifestVersion } from '../checkpoint/image.ts';
import { Arrival } from './arrival.ts';
import { endName, linkName, type Departed } from './journey.ts';

const directory = mkdtempSync(join(tmpdir(), 'muster-arrival-'));
afterAll(() => rmSync(directory, { recursive: true }));
const pathOf = (name: string): string => (name === 'full' ? '/dev/full' : join(directory, name));

const chunk = (file: string, offset: number, data: string, carried = 0): ImageChunk => ({
  file,
  offset,
  data: Buffer.from(data),
  carried,
  whole: [],
});

function end(files: Record<string, number>, version = manifestVersion): ImageChunk {
  const named = Object.entries(files).map(([name, bytes]) => ({ name, bytes, sha256: '' }));
  return chunk(
    endName,
    0,
    JSON.stringify({ kind: 'left', manifest: { version, files: named }, files: [], stillUs: 7 }),
  );
}

/** What becomes of all of these, the link carrying 'x'. */
async function arrived(...chunks: ImageChunk[]): Promise<number> {
  using arrival = new Arrival({
    pathOf,
    onLink: () => undefined,
    receive: (fd, offset, length) => {
      writeSync(fd, 'x'.repeat(length), offset);
      return Promise.resolve();
    },
  });
  for (const each of chunks) await arrival.take(each);
  expect(arrival.finish().stillUs).toBe(7);
  return arrival.bytes;
}

test('small files come whole, several at once, and each only once', async () => {
  const small = (...names: string[]): ImageChunk => ({
    ...chunk('', 0, ''),
    whole: names.map((file) => ({ file, data: Buffer.from(file) })),
  });
  const bytes = await arrived(small('some', 'more'), chunk('one', 0, '1'), small('last'), end({ some: 4, more: 4, one: 1, last: 4 })); // prettier-ignore
  expect(bytes).toBe(13);
  expect(readFileSync(pathOf('more'), 'utf8')).toBe('more');
  await expect(arrived(small('some'), small('some'), end({ some: 4 }))).rejects.toThrow('out of its order');
  await expect(arrived(small('../some'), end({}))).rejects.toThrow('it sends a file');
});

test('files come by turns, by the call and beside it, empty ones by their names alone', async () => {
  const chunks = [
    chunk('a', 0, 'on'),
    chunk('', 0, ''),
    chunk('b', 0, '', 3),
    chunk('a', 2, 'e'),
    chunk('b', 3, 'y'),
  ];
  expect(await arrived(chunk(linkName, 0, '4711'), ...chunks, end({ a: 3, b: 4, c: 0 }))).toBe(7);
  expect(['a', 'b', 'c'].map((name) => readFileSync(pathOf(name), 'utf8'))).toEqual(['one', 'xxxy', '']);
  expect(statSync(pathOf('a')).mode & 0o777).toBe(0o600);
});

test('what came before is not left when it comes again', async () => {
  await arrived(chunk('again', 0, 'first'), end({ again: 5 }));
  await arrived(chunk('again', 0, '2nd'), end({ again: 3 }));
  expect(readFileSync(pathOf('again'), 'utf8')).toBe('2nd');
});

describe('it is not taken for whole', () => {
  const cases: [string, ImageChunk[], string][] = [
    ['without its end', [chunk('a', 0, 'one')], 'it ended in the middle'],
    ['cut short', [chunk('a', 0, 'on'), end({ a: 3 })], 'a ended after 2 of 3 bytes'],
    ['out of order', [chunk('a', 1, 'n')], 'it sends a out of its order'],
    ['with a file that is not named', [chunk('a', 0, 'one'), end({})], 'has sent files that its manifest'],
    ['with a name that leads away', [chunk('../a', 0, 'one')], 'it sends a file "../a"'],
    ['of another version', [end({}, 99)], 'it speaks version 99 of images'],
  ];
  test.each(cases)('%s', async (_, chunks, why) => {
    await expect(arrived(...chunks)).rejects.toThrow(why);
  });
});

test('a full disk is told as such', async () => {
  await expect(arrived(chunk('full', 0, 'one'))).rejects.toMatchObject({ reason: 'StorageFull' });
});

test('one that stays gives its own reason', async () => {
  const stayed: Departed = { kind: 'stayed', reason: 'DumpFailed', message: 'MUSTER_CRIU_DUMP_FAILED: no' };
  await expect(arrived(chunk(endName, 0, JSON.stringify(stayed)))).rejects.toMatchObject({
    reason: 'DumpFailed',
    code: 'MUSTER_CRIU_DUMP_FAILED',
    message: 'MUSTER_CRIU_DUMP_FAILED: it did not leave: no',
  });
});
