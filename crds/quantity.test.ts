import { expect, it } from 'vitest';
import { bytesText, quantityOf } from './quantity.ts';

it.each([
  ['500m', 0.5],
  ['2', 2],
  [2, 2],
  ['1Gi', 2 ** 30],
  ['1.5Ki', 1536],
  ['.5k', 500],
  ['1e3', 1000],
  ['2E', 2e18],
  ['-1', -1],
])('reads %s', (text, value) => {
  expect(quantityOf(text)).toBe(value);
});

it.each(['', 'x', '1 Gi', '4GB', '1e', 'Infinity'])('takes %j for no quantity', (text) => {
  expect(quantityOf(text)).toBeNaN();
});

it.each([
  [0, '0'],
  [1536, '1.5Ki'],
  [5 * 2 ** 30, '5Gi'],
])('writes %d bytes as %s', (bytes, text) => {
  expect(bytesText(bytes)).toBe(text);
});
