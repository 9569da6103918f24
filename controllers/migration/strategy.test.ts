import { expect, it } from 'vitest';
import type { NodeState } from '../hub/node-table.ts';
import { measuredStrategy, strategyOf, strategyTrouble, type StrategySeen } from './strategy.ts';

const node = (name: string, features: string[], missing: string[] = []) => ({
  name,
  state: { hello: { features, missing } } as unknown as NodeState,
});
const both = ['post-copy', 'pre-copy'];
const able: StrategySeen = {
  isSuspended: false,
  nodes: [node('a', both), node('b', both)],
};
const unable: StrategySeen = {
  isSuspended: false,
  nodes: [node('a', ['post-copy']), node('b', [], ['post-copy: no userfaultfd'])],
};
const onlyFollows: StrategySeen = { isSuspended: false, nodes: [node('a', both), node('b', ['post-copy'])] };
const GiB = 1 << 30;
const MiB = 1 << 20;

it.each([
  ['Auto', able, GiB, undefined],
  ['Auto', onlyFollows, GiB, 'PostCopy'],
  ['Auto', able, GiB - 1, 'StopAndCopy'],
  ['Auto', unable, 4 * GiB, 'StopAndCopy'],
  ['Auto', { ...able, isSuspended: true }, 4 * GiB, 'StopAndCopy'],
  ['StopAndCopy', able, 4 * GiB, 'StopAndCopy'],
  ['PostCopy', able, 1, 'PostCopy'],
  ['PreCopy', able, 1, 'PreCopy'],
] as const)('%s is what nodes and memory are good for', (wanted, seen, bytes, strategy) => {
  expect(strategyTrouble(wanted, seen)).toBeUndefined();
  expect(strategyOf(wanted, seen, bytes)).toBe(strategy);
});

it.each([
  [[1], 'PreCopy'],
  [[64 * MiB, 3], 'PreCopy'],
  [[65 * MiB, 3], 'PostCopy'],
  [[3, 0], 'PostCopy'],
] as const)('of sandboxes that write %j bytes a second it is %s', (rates, strategy) => {
  expect(measuredStrategy(rates)).toBe(strategy);
});

it('says what a strategy lacks', () => {
  expect(strategyTrouble('PreCopy', onlyFollows)).toBe('node b: update its agent; use Auto or StopAndCopy');
  expect(strategyTrouble('PostCopy', unable)).toBe('node b: no userfaultfd; use Auto or StopAndCopy');
  expect(strategyTrouble('PostCopy', { ...able, isSuspended: true })).toContain('suspended');
  expect(strategyTrouble('PostCopy', { ...able, nodes: [{ name: 'c', state: undefined }] })).toContain(
    'node c: update its agent',
  );
});
