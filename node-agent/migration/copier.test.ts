import { expect, it } from 'vitest';
import { isEnough } from './copier.ts';

const MiB = 1 << 20;

it.each([
  ['a round of nearly nothing', [200 * MiB, 16 * MiB], true],
  ['the first of much', [200 * MiB], false],
  ['the first of little', [15 * MiB], true],
  ['one that has shrunk', [200 * MiB, 100 * MiB], false],
  ['one that has not', [200 * MiB, 150 * MiB], true],
  ['one after which there is no room', [200 * MiB, 120 * MiB, 60 * MiB], true],
  ['the eighth', [128, 64, 40, 28, 19, 18, 17.5, 17.2].map((each) => each * 16 * MiB), true],
])('%s: whether it is enough is %o', (_what, copied, expected) => {
  expect(isEnough(copied, 400 * MiB)).toBe(expected);
});
