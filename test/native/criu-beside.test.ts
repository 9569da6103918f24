// What native/criu-beside packs and unpacks in place of tar, against tar itself.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { tarEntriesOf } from '../../node-agent/checkpoint/tar-entries.ts';
import { nativeDir } from '../agent/harness.ts';

let directory: string;
const at = (...names: string[]): string => join(directory, ...names);

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'muster-beside-'));
  for (const name of ['from', 'to', 'bin']) mkdirSync(at(name));
  // Whoever is left to tar itself is seen here.
  writeFileSync(at('bin', 'tar'), `#!/bin/sh\n: > ${at('asked')}\nexec ${tarPath()} "$@"\n`, { mode: 0o755 });
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

const tarPath = (): string => execFileSync('sh', ['-c', 'command -v tar'], { encoding: 'utf8' }).trim();

/** As CRIU says it, to the library or to tar. Gives what it complains of. */
function tar(words: string[], input: string, output: string | null, isBeside: boolean): string {
  const stdin = openSync(input, 'r');
  const stdout = output === null ? 'ignore' : openSync(output, 'w');
  const environment = isBeside ? { LD_PRELOAD: `${nativeDir}/criu-beside.so`, MUSTER_BESIDE: '-1' } : {};
  const said = isBeside ? words : words.filter((word) => word !== '--gzip');
  const { status, stderr } = spawnSync('/usr/bin/env', ['tar', ...said], {
    env: { PATH: `${at('bin')}:/usr/bin:/bin`, ...environment },
    stdio: [stdin, stdout, 'pipe'],
    encoding: 'utf8',
  });
  closeSync(stdin);
  if (typeof stdout === 'number') closeSync(stdout);
  expect(status === 0).toBe(stderr === '');
  return stderr;
}

const packing = ['--create', '--gzip', '--no-unquote', '--no-wildcards', '--one-file-system', '--check-links', '--preserve-permissions', '--sparse', '--numeric-owner', '--directory', '/proc/self/fd/0', '.']; // prettier-ignore
const unpacking = ['--extract', '--gzip', '--no-unquote', '--no-wildcards', '--directory'];

function pack(isBeside: boolean): void {
  expect(tar(packing, at('from'), at('archive'), isBeside)).toBe('');
}

function unpack(isBeside: boolean): void {
  expect(tar([...unpacking, at('to')], at('archive'), null, isBeside)).toBe('');
}

/** All that an archive keeps of a tree. */
const treeOf = (name: string): string =>
  execFileSync('sh', ['-c', `cd ${at(name)} && find . -printf '%p %y %m %U %G %Ts %l\\n' | sort && find . -type f | sort | xargs -r sha256sum && find . -type c -o -type b | sort | xargs -r stat -c '%n %t %T'`], { encoding: 'utf8' }); // prettier-ignore

const wasTarAsked = (): boolean => spawnSync('test', ['-e', at('asked')]).status === 0;
const isRoot = process.getuid?.() === 0;

function fill(): void {
  mkdirSync(at('from', 'dir', 'inner'), { recursive: true, mode: 0o711 });
  mkdirSync(at('from', 'sticky'));
  writeFileSync(at('from', 'dir', 'empty'), '');
  writeFileSync(at('from', 'dir', 'block'), Buffer.alloc(512, 7), { mode: 0o640 });
  writeFileSync(at('from', 'dir', 'inner', 'large'), Buffer.alloc(200_001, 'abc'), { mode: 0o755 });
  symlinkSync('/dev/null', at('from', 'dir', 'link'));
  symlinkSync('nowhere', at('from', 'broken'));
  const script = [`mkfifo -m 600 pipe`, `chmod 1777 sticky`, `touch -h -d @1234567890 broken dir/block`];
  if (isRoot) script.push('mknod -m 666 null c 1 3', 'mknod disk b 259 300', 'chown -h 65534:12 broken dir');
  script.push('touch -d @1000000000 dir dir/inner .');
  execFileSync('sh', ['-ec', script.join('\n')], { cwd: at('from') });
}

it.each([
  { packs: true, unpacks: true },
  { packs: true, unpacks: false },
])('packs what tar unpacks, and itself: %o', ({ packs, unpacks }) => {
  fill();
  pack(packs);
  expect(wasTarAsked()).toBe(false);
  expect(readFileSync(at('archive')).length % 512).toBe(0);
  expect(tarEntriesOf(at('archive')).map(({ name }) => name)).toContain('./dir/inner/large');
  unpack(unpacks);
  expect(wasTarAsked()).toBe(!unpacks);
  expect(treeOf('to')).toBe(treeOf('from'));
});

it('unpacks what tar has packed', () => {
  fill();
  pack(false);
  rmSync(at('asked'));
  unpack(true);
  expect(wasTarAsked()).toBe(false);
  expect(treeOf('to')).toBe(treeOf('from'));
});

it.each([
  { name: 'a long name', make: `touch ${'n'.repeat(120)}` },
  { name: 'a file with two names', make: 'echo text > one; ln one two' },
  { name: 'a file with a hole', make: 'truncate -s 1M hole' },
  { name: 'a long link', make: `ln -s ${'t'.repeat(120)} link` },
])('leaves $name to tar', ({ make }) => {
  writeFileSync(at('from', 'before'), 'text');
  execFileSync('sh', ['-ec', `mkdir dir; cd dir; ${make}`], { cwd: at('from') });
  pack(true);
  expect(wasTarAsked()).toBe(true);
  unpack(true);
  expect(treeOf('to')).toBe(treeOf('from'));
});

it('follows no link of an archive to somewhere else', () => {
  mkdirSync(at('outside'));
  const member = (name: string, kind: string, target = '', content = ''): Buffer => {
    const header = Buffer.alloc(512);
    const put = (text: string, place: number): void => void header.write(text, place, 'latin1');
    put(name, 0);
    put('0000644\0', 100);
    put('0000000\0', 108);
    put('0000000\0', 116);
    put(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
    put('00000000000\0', 136);
    put('        ', 148);
    put(kind, 156);
    put(target, 157);
    put('ustar  \0', 257);
    const sum = header.reduce((all, byte) => all + byte, 0);
    put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return Buffer.concat([header, Buffer.from(content.padEnd(Math.ceil(content.length / 512) * 512, '\0'))]);
  };
  const link = member('./out', '2', at('outside'));
  writeFileSync(at('archive'), Buffer.concat([link, member('./out/file', '0', '', 'text'), Buffer.alloc(1024)])); // prettier-ignore
  expect(tar([...unpacking, at('to')], at('archive'), null, true)).not.toBe(''); // of tar, that nothing is there
  expect(spawnSync('test', ['-e', at('outside', 'file')]).status).toBe(1);
});
