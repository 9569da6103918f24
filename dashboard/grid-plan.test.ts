import { describe, expect, it } from 'vitest';
import type { FeedNode, FeedSandbox } from '../wire/page-feed.ts';
import { cellAt, labelWidth, marks, planOf, rankAt, rowAt } from './grid-plan.ts';

const node = (name: string, cpus = 4): FeedNode => ({
  ...({ kind: 'node', phase: 'Ready', problem: '', load1: 0, memoryBytes: 0 } as const),
  ...({ memoryAvailableBytes: 0, pressure: [0, 0, 0] } as const),
  ...{ name, cpus },
});
const sandbox = (more: Partial<FeedSandbox>): FeedSandbox => ({
  ...({ kind: 'sandbox', namespace: 'default', group: 'a', uid: 'a', ordinal: 0, incarnation: 1 } as const),
  ...({ node: 'n1', ranks: '0-3', succeeded: '', failed: '', state: 'Running', load: '0' } as const),
  ...{ cores: 0, memoryBytes: 0 },
  ...more,
});
const plan = (nodes: FeedNode[], sandboxes: FeedSandbox[], width = 1200, height = 500) =>
  planOf(nodes, sandboxes, width, height, new WeakMap());

describe('the plan of the grid', () => {
  it('has a cell for each rank by its state, and one for each processor that is free', () => {
    const { rows } = plan(
      [node('n1', 8), node('n2', 2)],
      [
        sandbox({ ranks: '0-3', load: '0594', failed: '2', succeeded: '3' }),
        sandbox({ group: 'b', uid: 'b', ranks: '10', state: 'Frozen' }),
      ],
    );
    expect([...rows[0]!.cells]).toEqual([
      0,
      5,
      marks.failed,
      marks.ended,
      marks.frozen,
      ...Array(3).fill(marks.free),
    ]);
    expect([...rows[1]!.cells]).toEqual([marks.free, marks.free]);
  });
  it('knows from a point which rank it is', () => {
    const made = plan([node('n1'), node('n2')], [sandbox({ node: 'n2', ranks: '7,9' })]);
    const row = made.rows[1]!;
    const found = cellAt(made, labelWidth + made.cell * 1.4, row.top + 2);
    expect(found).toEqual({ row: 1, cell: 1 });
    expect(rankAt(row, found!.cell)).toMatchObject({ rank: 9, sandbox: { node: 'n2' } });
    expect(rankAt(row, 2)).toBeUndefined();
    expect(cellAt(made, 10, row.top + 2)).toBeUndefined();
    expect(cellAt(made, labelWidth + made.cell * 30, row.top + 2)).toBeUndefined();
    expect(cellAt(made, labelWidth + 2, made.height + 40)).toBeUndefined();
  });
  it('is as large as fits, and no smaller than can be seen', () => {
    const few = plan([node('n1')], [sandbox({})]);
    const nodes = Array.from({ length: 64 }, (_, i) => node(`n${i}`));
    const many = plan(
      nodes,
      nodes.map(({ name }, i) =>
        sandbox({ node: name, ordinal: i, ranks: `${i * 1024}-${i * 1024 + 1023}` }),
      ),
    );
    expect(few.cell).toBe(22);
    expect(many.cell).toBe(4);
    expect(many.rows.reduce((sum, { ranks }) => sum + ranks, 0)).toBe(65_536);
    for (const [index, { top }] of many.rows.entries()) expect(rowAt(many, top)).toBe(index);
    expect(rowAt(many, 1e9)).toBe(63);
  });
  it('has nothing where there is nothing', () => {
    const none = plan([], []);
    expect(none).toMatchObject({ rows: [], height: 0 });
    expect(cellAt(none, 300, 5)).toBeUndefined();
  });
});
