// Writes what is derived from the state tables of this folder: their models for SPIN, rank-init's part of them as C, and the tables of
// the documentation. Run by `make generate` and `make verify`.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cTableOf } from './c-table.ts';
import { guard, keeper, warden } from './fencing.ts';
import { promelaOf } from './promela.ts';
import { rowsOf, type StateTable } from './state-table.ts';

const root = join(import.meta.dirname, '..');
const marker = '<!-- tables -->\n';

const files = new Map([
  ['wire/fencing.gen.pml', promelaOf(guard, keeper, warden)],
  ['native/rank-init/guard.gen.h', cTableOf(guard)],
  ['docs/fencing.md', withTables('docs/fencing.md', guard, keeper, warden)],
]);

/** The document with the tables behind its marker, which is at its end. */
function withTables(name: string, ...tables: readonly StateTable<string, string, string>[]): string {
  const [text = ''] = readFileSync(join(root, name), 'utf8').split(marker, 1);
  return [text + marker, ...tables.map(markdownOf)].join('\n');
}

function markdownOf(table: StateTable<string, string, string>): string {
  const rows = rowsOf(table).map(
    ({ state, event, next, actions }) => `| ${state} | ${event} | ${next} | ${actions.join(', ')} |`,
  );
  const events = Object.entries(table.events).map(([event, meaning]) => `- ${event}: ${meaning}`);
  const head = ['| state | event | next | what is done |', '| --- | --- | --- | --- |'];
  return [`### ${table.role}`, '', ...head, ...rows, '', ...events, ''].join('\n');
}

if (import.meta.main) for (const [name, text] of files) writeFileSync(join(root, name), text);
