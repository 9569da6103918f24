// What a plain tar archive holds, by its headers alone: contents are stepped over, so one of many gigabytes costs little. No archive is
// unpacked here, and a compressed one is none.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const blockBytes = 512;
const longName = 'L';
const longTarget = 'K';
const sparse = 'S';
const longestName = 1 << 16;

export interface TarEntry {
  readonly name: string;
  readonly kind: 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';
  readonly mode: number;
  readonly device: { readonly major: number; readonly minor: number };
}

const kinds: Readonly<Record<string, TarEntry['kind']>> = {
  '': 'file', '0': 'file', [sparse]: 'file', '1': 'link', '2': 'symlink', '3': 'character', '4': 'block', '5': 'directory', '6': 'fifo',
}; // prettier-ignore

const unknown = (): Error => new Error('it is no tar archive as CRIU makes one');

/** Throws on what is no archive, or has in it what GNU tar does not write unasked: another reader could see something else in that. */
export function tarEntriesOf(path: string): TarEntry[] {
  const fd = openSync(path, 'r');
  try {
    return [...read(fd, fstatSync(fd).size)];
  } finally {
    closeSync(fd);
  }
}

function* read(fd: number, size: number): Generator<TarEntry> {
  const header = Buffer.alloc(blockBytes);
  let name: string | null = null;
  for (let at = 0; at < size;) {
    if (readSync(fd, header, 0, blockBytes, at) < blockBytes) throw unknown();
    at += blockBytes;
    if (header.every((byte) => byte === 0)) continue;
    if (header.toString('latin1', 257, 263) !== 'ustar ' || sumOf(header) !== number(header, 148, 8))
      throw unknown();
    const letter = text(header, 156, 1);
    const bytes = number(header, 124, 12);
    if (letter === sparse) at += extended(fd, header, at);
    if (letter === longName || letter === longTarget) {
      if (bytes > longestName) throw unknown();
      const content = Buffer.alloc(bytes);
      readSync(fd, content, 0, bytes, at);
      if (letter === longName) name = text(content, 0, bytes);
    } else {
      const kind = kinds[letter];
      if (kind === undefined) throw unknown();
      const device = { major: number(header, 329, 8), minor: number(header, 337, 8) };
      yield { name: name ?? text(header, 0, 100), kind, mode: number(header, 100, 8), device };
      name = null;
    }
    at += Math.ceil(bytes / blockBytes) * blockBytes;
  }
}

/** As if the sum itself were blanks. */
const sumOf = (header: Buffer): number =>
  header.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 32 : byte), 0);

/** Further headers of a file with holes. */
function extended(fd: number, header: Buffer, from: number): number {
  let more = header[482] === 1;
  let at = from;
  const block = Buffer.alloc(blockBytes);
  for (; more; at += blockBytes) {
    if (readSync(fd, block, 0, blockBytes, at) < blockBytes) throw unknown();
    more = block[504] === 1;
  }
  return at - from;
}

const text = (header: Buffer, from: number, length: number): string =>
  header.toString('utf8', from, from + length).split('\0')[0] ?? '';

/** Octal, or a binary number where that does not do. */
function number(header: Buffer, from: number, length: number): number {
  if ((header[from] ?? 0) < 0x80) return parseInt(text(header, from, length).trim() || '0', 8);
  let value = (header[from] ?? 0) & 0x7f;
  for (let at = from + 1; at < from + length; at++) value = value * 256 + (header[at] ?? 0);
  return value;
}
