import { expect, it } from 'vitest';
import type { NodeState } from '../hub/node-table.ts';
import { strategyOf, strategyTrouble, type StrategySeen } from './strategy.ts';

const node = (name: string, features: string[], missing: string[] = []) => ({
  name,
  state: { hello: { features, missing } } as unknown as NodeState,
});
const able: StrategySeen = {
  isSuspended: false,
  nodes: [node('a', ['post-copy']), node('b', ['post-copy'])],
};
const unable: StrategySeen = {
  isSuspended: false,
  nodes: [node('a', ['post-copy']), node('b', [], ['post-copy: no userfaultfd'])],
};
const GiB = 1 << 30;

it.each([
  ['Auto', able, GiB, 'PostCopy'],
  ['Auto', able, GiB - 1, 'StopAndCopy'],
  ['Auto', unable, 4 * GiB, 'StopAndCopy'],
  ['Auto', { ...able, isSuspended: true }, 4 * GiB, 'StopAndCopy'],
  ['StopAndCopy', able, 4 * GiB, 'StopAndCopy'],
  ['PostCopy', able, 1, 'PostCopy'],
] as const)('%s is what nodes and memory are good for', (wanted, seen, bytes, strategy) => {
  expect(strategyTrouble(wanted, seen)).toBeUndefined();
  expect(strategyOf(wanted, seen, bytes)).toBe(strategy);
});

it('says what a strategy lacks', () => {
  expect(strategyTrouble('PreCopy', able)).toContain('cannot be tracked');
  expect(strategyTrouble('PostCopy', unable)).toBe('node b: no userfaultfd; use Auto or StopAndCopy');
  expect(strategyTrouble('PostCopy', { ...able, isSuspended: true })).toContain('suspended');
  expect(strategyTrouble('PostCopy', { ...able, nodes: [{ name: 'c', state: undefined }] })).toContain(
    'node c: update its agent',
  );
});
