import { expect, test } from 'vitest';
import type { RankRow } from '../../controllers/subresources/rank-rows.ts';
import { bytesText, imbalancePercent, secondsText, sparkline } from './quantities.ts';
import { LiveScreen } from './screen.ts';
import { jobsView, ranksView } from './views.ts';

const usage = {
  pid: 7, state: 'S', waitsFor: 'futex_wait', userSeconds: 1, systemSeconds: 1, cores: 1, memoryBytes: 2048, memoryPeakBytes: 4096,
  readBytes: 0, writtenBytes: 0, processes: 1, threads: 1, voluntarySwitches: 0, involuntarySwitches: 0, majorFaults: 0,
}; // prettier-ignore
const rank = (number: number, cores: number | undefined): RankRow & { job: string } => ({
  job: 'cpi', rank: number, node: 'node1', ordinal: 0, state: 'Running', exit: '', program: './cpi', processors: '',
  ...(cores === undefined ? {} : { usage: { ...usage, cores } }),
}); // prettier-ignore
const column = (view: { columns: readonly string[]; cells: readonly (readonly string[])[] }, name: string) =>
  view.cells.map((row) => row[view.columns.indexOf(name)]);

test('ranks are sorted by the column asked for, those without a figure last', () => {
  const rows = [rank(0, 0.2), rank(1, undefined), rank(10, 0.9), rank(2, 0.5)];
  expect(column(ranksView(rows), 'Rank')).toEqual(['0', '1', '2', '10']);
  expect(column(ranksView(rows, 'busy'), 'Rank')).toEqual(['10', '2', '0', '1']);
  expect(column(ranksView(rows, 'CPU time'), 'Busy').at(-1)).toBe('-');
  expect(column(ranksView(rows, 'rank', true), 'Rank')).toEqual(['10', '2', '1', '0']);
  expect(column(ranksView(rows), 'Does')[0]).toBe('S futex_wait');
  expect(ranksView(rows, 'nosuch').sortedBy).toBe('job');
});

test('a job shows at a glance that one rank works and the others wait', () => {
  const group = { apiVersion: 'v1', kind: 'ProcessGroup', metadata: { name: 'cpi' }, spec: {} } as never;
  const ranks = [rank(0, 1), rank(1, 0), rank(2, 0), rank(3, 0)];
  const view = jobsView([{ job: 'cpi', state: 'Running', ranks, group }]);
  expect(column(view, 'By rank')).toEqual(['█▁▁▁']);
  expect(column(view, 'Imbalance')).toEqual(['300%']);
});

test('figures are short', () => {
  expect([0, 512, 1536, 2 ** 31].map(bytesText)).toEqual(['0', '512', '1.5Ki', '2.0Gi']);
  expect([1.25, 125, 7322].map(secondsText)).toEqual(['1.3s', '2m05s', '2h02m']);
  expect(sparkline(Array.from({ length: 1000 }, (_, i) => i), 4)).toHaveLength(4); // prettier-ignore
  expect(imbalancePercent([])).toBe(0);
});

test('only lines that changed are written, cut to the terminal, and the terminal is given back', () => {
  const written: string[] = [];
  const terminal = { write: (text: string) => void written.push(text), columns: 10, rows: 2 };
  {
    using screen = new LiveScreen(terminal);
    screen.draw(['one', 'two', 'three is not shown']);
    screen.draw(['one', 'two']);
    screen.draw(['one', '\u001b[32mlonger than it is wide\u001b[0m']);
  }
  expect(written).toHaveLength(4);
  expect(written[1]).toContain('one');
  expect(written[1]).not.toContain('three');
  expect(written[2]).toBe('\u001b[2;1H\u001b[32mlonger tha\u001b[0m\u001b[K');
  expect(written[3]).toContain('\u001b[?1049l');
});
