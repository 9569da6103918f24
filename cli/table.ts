/** Tables for a terminal: the store's aligned text, cut where the terminal is narrower, the state in colour. Pure. */
import { type Table, tableText, type TextOptions } from '../store/server/table.ts';
import type { Config } from './config.ts';

const colours: Readonly<Record<string, number>> = {
  Running: 32,
  Ready: 32,
  Succeeded: 36,
  Suspended: 33,
  Frozen: 33,
  Pending: 33,
  Failed: 31,
  NotReady: 31,
  Stalled: 31,
  Invalid: 31,
};

export type Screen = Pick<Config, 'columns' | 'colour'>;

export function formatTable(table: Table, options: TextOptions, screen: Screen): string {
  return tableText(table, options)
    .split('\n')
    .map((line) => `${painted(fit(line, screen.columns), screen.colour)}\n`)
    .join('');
}

/** A table of our own making, for what is no object. */
export function plainTable(columns: readonly string[], rows: readonly (readonly unknown[])[]): Table {
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: {},
    columnDefinitions: columns.map((name) => ({
      name,
      type: 'string',
      format: '',
      description: '',
      priority: 0,
    })),
    rows: rows.map((cells) => ({ cells })),
  };
}

function fit(line: string, columns: number): string {
  return columns > 20 && line.length > columns ? `${line.slice(0, columns - 1)}~` : line;
}

function painted(line: string, colour: boolean): string {
  if (!colour) return line;
  const state = line.split(/\s{2,}/).find((cell) => colours[cell] !== undefined);
  return state === undefined ? line : line.replace(state, `\u001b[${colours[state]}m${state}\u001b[0m`);
}
