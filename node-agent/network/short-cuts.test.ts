import { expect, test } from 'vitest';
import { indexOf } from './link-changes.ts';
import { shortCutsOf, shortCutText } from './short-cuts.ts';

const subnet = '100.64.5.0/28';
const mac = (ordinal: number): string => `0a:4d:64:40:05:0${String(ordinal + 2)}`;

test('from each port to all others, from the tunnel to those that are here', () => {
  const cuts = shortCutsOf(subnet, new Map([['ms0', 0], ['ms1', 1]]), 'mv', [2]); // prettier-ignore
  expect(cuts.map(({ from, to }) => [from, Object.fromEntries(to)])).toEqual([
    ['ms0', { [mac(1)]: 'ms1', [mac(2)]: 'mv' }],
    ['ms1', { [mac(0)]: 'ms0', [mac(2)]: 'mv' }],
    ['mv', { [mac(0)]: 'ms0', [mac(1)]: 'ms1' }],
  ]);
});

test('one that is told of as elsewhere and has come is found here', () => {
  const [, second] = shortCutsOf(subnet, new Map([['ms0', 0], ['ms1', 1]]), 'mv', [0]); // prettier-ignore
  expect(second!.to.get(mac(0))).toBe('ms0');
});

test('nothing for a sandbox alone, or cut off', () => {
  expect(shortCutsOf(subnet, new Map([['ms0', 0]]), 'mv', [])).toEqual([]);
  expect(shortCutsOf(subnet, new Map(), 'mv', [1, 2])).toEqual([]);
});

test('the table replaces what it was, in one transaction', () => {
  const text = shortCutText('t', [{ from: 'ms0', to: new Map([[mac(1), 'ms1']]) }]);
  expect(text.split('\n').slice(0, 3)).toEqual([
    'table netdev t',
    'delete table netdev t',
    'table netdev t {',
  ]);
  expect(text).toContain(`elements = { ${mac(1)} : ${String(indexOf('ms1'))} }`);
  expect(text).toContain('hook ingress device "ms0"');
});
