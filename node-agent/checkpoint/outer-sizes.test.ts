import { expect, test } from 'vitest';
import { withoutOuterSizes } from './outer-sizes.ts';

const header = Buffer.from('1943565438313056', 'hex');
const framed = (entry: number[]): Buffer => Buffer.from([entry.length, 0, 0, 0, ...entry]);
/** A file_entry of kind 1 with a reg_file_entry. */
const fileOf = (regular: number[]): Buffer => framed([8, 1, 16, 7, 26, regular.length, ...regular]);
const name = [50, 2, 47, 97];
const size = [64, 0x96, 0x01];

test('files from outside lose their lengths, all else stays as it is', () => {
  const socket = framed([8, 4, 16, 9, 42, 3, 1, 2, 3]);
  const own = fileOf([8, 7, ...name, ...size]);
  const outer = fileOf([8, 7, ...name, ...size, 72, 1]);
  const image = Buffer.concat([header, socket, own, outer, own]);
  const expected = Buffer.concat([header, socket, own, fileOf([8, 7, ...name, 72, 1]), own]);
  expect(withoutOuterSizes(image)).toEqual(expected);
});

test('what is cut off, or of another kind, is not taken', () => {
  const image = Buffer.concat([header, fileOf([8, 7, ...name, ...size, 72, 1])]);
  expect(() => withoutOuterSizes(image.subarray(0, -1))).toThrow('MUSTER_IMAGE_DAMAGED');
  expect(() => withoutOuterSizes(Buffer.concat([header, framed([15, 1])]))).toThrow('MUSTER_IMAGE_DAMAGED');
});
