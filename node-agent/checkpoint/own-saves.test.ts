import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bytesSaved, makeSaves, putSaves, saidOf, takeSaves, wishSave, withdrawSave } from './own-saves.ts';

const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
let top: string;
let saves: string;
const image = { pathOf: (name: string) => `${top}/image/${name}` };

beforeEach(() => {
  top = mkdtempSync(`${tmpdir()}/muster-saves-`);
  saves = `${top}/saves`;
  mkdirSync(`${top}/image`);
  makeSaves(saves, owner);
});
afterEach(() => {
  rmSync(top, { recursive: true });
});

const write = (name: string, text: string): void => {
  writeFileSync(`${saves}/save/${name}`, text);
};

test('a tree of files goes into the image, and comes back as it was', async () => {
  write('of-an-attempt-before', 'old');
  await wishSave(saves, 17, owner, AbortSignal.timeout(10_000));
  expect(readFileSync(`${saves}/save/wanted`, 'utf8')).toBe('17\n');
  mkdirSync(`${saves}/save/a/b`, { recursive: true });
  write('a/b/deep file', 'deep');
  write('flat', 'flat');
  write('done.0', '17\n');
  expect(bytesSaved(saves)).toBeGreaterThanOrEqual('deepflat'.length);
  takeSaves(saves, image);
  expect(readdirSync(`${top}/image`).sort()).toEqual(['save.2', 'save.3', 'saves.json']);
  withdrawSave(saves);
  expect(readdirSync(`${saves}/save`)).toEqual(['a']);
  putSaves(image, saves, owner);
  putSaves(image, saves, owner);
  expect(readdirSync(`${saves}/restart`, { recursive: true }).sort()).toEqual([
    'a',
    'a/b',
    'a/b/deep file',
    'flat',
  ]);
  expect(readFileSync(`${saves}/restart/a/b/deep file`, 'utf8')).toBe('deep');
  expect(readdirSync(`${saves}/save`)).toEqual([]);
});

test('a rank has answered once it says the number that is asked for', () => {
  expect(saidOf(saves, 17, 3)).toBeNull();
  for (const [text, said] of [
    ['16\n', null],
    ['17', null],
    ['17\n', 0],
    ['17 28\n', 28],
    ['', null],
  ] as const) {
    write('done.3', text);
    expect(saidOf(saves, 17, 3)).toBe(said);
  }
  write('elsewhere', '17\n');
  symlinkSync('elsewhere', `${saves}/save/done.4`);
  expect(saidOf(saves, 17, 4)).toBeNull();
});

test('what is no file is not taken, and what leads out is not put', () => {
  symlinkSync('/etc/shadow', `${saves}/save/link`);
  expect(() => {
    takeSaves(saves, image);
  }).toThrow(/MUSTER_SAVED_FILE: .*link/);
  writeFileSync(image.pathOf('save.0'), 'x');
  writeFileSync(
    image.pathOf('saves.json'),
    JSON.stringify([{ path: '../out', mode: 0o600, file: 'save.0' }]),
  );
  expect(() => {
    putSaves(image, saves, owner);
  }).toThrow(/ImageDamaged|leads out/);
  expect(readdirSync(top).sort()).toEqual(['image', 'saves']);
});
