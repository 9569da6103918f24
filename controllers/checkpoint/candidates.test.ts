import { expect, test } from 'vitest';
import type { NodeState, NodeTable } from '../hub/node-table.ts';
import { candidatesFor, isStartedAnew } from './candidates.ts';

const state = (node: string, features: string[], cpuFeatures: string[]): NodeState =>
  ({ node, hello: { features, missing: [], cpuFeatures } }) as unknown as NodeState;

const known = [
  state('old', ['checkpoint'], ['sse2']),
  state('new', ['checkpoint'], ['sse2', 'avx512f']),
  state('bare', [], ['sse2', 'avx512f']),
  state('away', ['checkpoint'], ['sse2', 'avx512f']),
];
const nodes = {
  all: () => known,
  get: (name: string) => known.find(({ node }) => node === name),
  standing: (name: string) => (name === 'away' ? 'Lost' : 'Connected'),
} as unknown as NodeTable;

const from = (node: string, startedAnew: boolean): number =>
  candidatesFor([{ node }], { isIsolated: false, startedAnew }, nodes);

test('processes go where an engine and their processor features are, ranks that start anew wherever a node is', () => {
  expect(from('old', false)).toBe(2);
  expect(from('new', false)).toBe(1);
  expect(from('new', isStartedAnew('application 1'))).toBe(3);
  expect(isStartedAnew('criu 4.2')).toBe(false);
});
