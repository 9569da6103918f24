import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { copyOf, CriuPrograms } from './criu-programs.ts';

let home: string;
const program = (): string => join(home, 'criu/bin/criu');

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'muster-criu-'));
  mkdirSync(join(home, 'criu/bin'), { recursive: true });
  writeFileSync(program(), 'one');
  chmodSync(program(), 0o755);
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

const copied = (): Promise<string> => copyOf(join(home, 'criu'), join(home, 'place'));

test('what is on the node is run where it is', async () => {
  const programs = new CriuPrograms([join(home, 'nothing'), program()], join(home, 'place'));
  expect(await programs.find()).toBe(program());
  expect(existsSync(join(home, 'place'))).toBe(false);
  expect(await new CriuPrograms([join(home, 'nothing')], home).find()).toBeNull();
});

test('a copy is made once, and another one in its place when something has changed', async () => {
  const first = await copied();
  expect(readFileSync(join(first, 'bin/criu'), 'utf8')).toBe('one');
  expect(await copied()).toBe(first);
  writeFileSync(program(), 'two');
  const second = await copied();
  expect(readFileSync(join(second, 'bin/criu'), 'utf8')).toBe('two');
  expect(readdirSync(join(home, 'place'))).toHaveLength(1);
  chmodSync(program(), 0o700);
  expect(await copied()).not.toBe(second);
});

test('a copy that is not whole is made anew, and what is left of one that was cut off goes', async () => {
  const copy = await copied();
  writeFileSync(join(copy, 'bin/criu'), '');
  mkdirSync(join(home, 'place/new-abcdef'));
  expect(await copied()).toBe(copy);
  expect(readFileSync(join(copy, 'bin/criu'), 'utf8')).toBe('one');
  expect(readdirSync(join(home, 'place'))).toEqual([copy.slice(copy.lastIndexOf('/') + 1)]);
});
