import { describe, expect, it } from 'vitest';
import { parseJsonPath, valuesAt } from '../json-path.ts';
import { durationText } from '../duration.ts';
import { tableOf, tableText } from './table.ts';

const object = {
  metadata: { name: 'a\u001b[31m', labels: { 'x/y': 'z' } },
  status: {
    conditions: [
      { type: 'Ready', status: 'True' },
      { type: 'Done', status: 'False' },
    ],
    list: [1, 2],
  },
};

describe('JSON paths', () => {
  it.each([
    ['.metadata.labels["x/y"]', ['z']],
    ['.status.conditions[?(@.type=="Ready")].status', ['True']],
    ['.status.list[*]', [1, 2]],
    ['.status.list[-1]', [2]],
    ['{.status.list[0]}', [1]],
    ['.status.none.at.all', []],
    ['.metadata.constructor', []],
  ])('%s', (path, expected) => {
    expect(valuesAt(object, parseJsonPath(path)!)).toEqual(expected);
  });

  it('refuses what it does not know', () => {
    expect(parseJsonPath('..name')).toBeUndefined();
    expect(parseJsonPath('.a[?(@.x>1)]')).toBeUndefined();
  });
});

it.each([
  [0, '0s'],
  [119, '119s'],
  [125, '2m5s'],
  [600, '10m'],
  [3 * 3600, '3h'],
  [3 * 3600 + 60, '3h1m'],
  [50 * 3600, '2d2h'],
  [400 * 86400, '400d'],
  [800 * 86400, '2y70d'],
  [-5, '<invalid>'],
])('prints %i seconds as %s', (seconds, expected) => {
  expect(durationText(seconds * 1000)).toBe(expected);
});

it('lets no control character reach a terminal', () => {
  const type = { group: 'g', version: 'v1', kind: 'K', plural: 'ks', namespaced: false, printerColumns: [] };
  expect(tableText(tableOf(type, [object], { nowMs: 0 }))).toBe('NAME\na?[31m');
});
