import { expect, test } from 'vitest';
import { bounded, mostSandboxes, type SandboxFigures } from './sandbox-figures.ts';

const figures = (ordinal: number): SandboxFigures => ({
  namespace: 'default', group: 'sweep', ordinal: String(ordinal), userSeconds: 1, systemSeconds: 2, memoryBytes: 3, memoryPeakBytes: 4,
  readBytes: 5, writtenBytes: 6, logBytes: 7, oomKills: 8, ranks: 1, cores: [0.5],
}); // prettier-ignore

test('a node of very many sandboxes makes a bounded number of series, and loses nothing in sum', () => {
  const many = Array.from({ length: 1000 }, (_, at) => figures(at));
  const told = bounded(many);
  expect(told).toHaveLength(mostSandboxes);
  expect(told.at(-1)).toMatchObject({ group: 'other', userSeconds: 1000 - mostSandboxes + 1, ranks: 745 });
  expect(told.reduce((sum, { writtenBytes }) => sum + writtenBytes, 0)).toBe(6000);
  expect(bounded(many.slice(0, 3))).toEqual(many.slice(0, 3));
});
