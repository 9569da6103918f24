import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hostPath, isOnNode, realWithin, shellAs } from './host-root.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'muster-root-'));
  mkdirSync(join(root, 'data/home'), { recursive: true });
  writeFileSync(join(root, 'data/home/file'), '');
  symlinkSync('/data', join(root, 'scratch'));
  symlinkSync('../scratch/home', join(root, 'data/own'));
  symlinkSync('../../../../../data', join(root, 'out'));
  symlinkSync('/round', join(root, 'round'));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

test.for([
  ['/', '/'],
  ['/data//home/./file', '/data/home/file'],
  ['/scratch/home/file', '/data/home/file'],
  ['/scratch/own/../own/file', '/data/home/file'],
  ['/out/home', '/data/home'],
])('on another root %s is %s', ([path, real]) => {
  expect(realWithin(root, path!)).toBe(real);
});

test('what is not there, and what leads in a circle, is said as the kernel says it', () => {
  expect(() => realWithin(root, '/data/nothing')).toThrow(/ENOENT/);
  expect(() => realWithin(root, '/data/home/file/x')).toThrow(/ENOTDIR/);
  expect(() => realWithin(root, '/round')).toThrow(/ELOOP/);
});

test('outside of a container files and shells are those that are seen', () => {
  expect(isOnNode('/')).toBe(true);
  expect(hostPath('/a/b')).toBe('/a/b');
  expect(shellAs({ uid: 1, gid: 2 }, 'true', ['x'])).toEqual([
    '/bin/sh',
    ['-ec', 'true', 'sh', 'x'],
    { cwd: '/', env: {}, uid: 1, gid: 2 },
  ]);
});
