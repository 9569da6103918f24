/**
 * Writes a state table as a C header for rank-init: its states, events and actions as enums, and its rows as an array to search.
 */
import { rowsOf, type StateTable } from './state-table.ts';

export function cTableOf(table: StateTable<string, string, string>): string {
  const { role } = table;
  const [lower, upper] = [role.toLowerCase(), role.toUpperCase()];
  const rows = rowsOf(table);
  const constant = (kind: string, name: string): string =>
    `${upper}_${kind}${name.replaceAll(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
  const states = Object.keys(table.rows).map((name) => constant('', name));
  const events = Object.keys(table.events).map((name) => constant('ON_', name));
  const actions = ['None', ...new Set(rows.flatMap((row) => row.actions))].map((name) =>
    constant('DO_', name),
  );
  const lines = rows.map(({ state, event, next, actions: todo }) => {
    if (todo.length > 1) throw new Error(`${role}: more than one action in a row is not written as C`);
    const [action = 'None'] = todo;
    const columns = [
      constant('', state),
      constant('ON_', event),
      constant('', next),
      constant('DO_', action),
    ];
    return `    {${columns.join(', ')}},`;
  });
  return [
    '/* Generated from wire/fencing.ts by `make generate`; do not edit. */',
    `#ifndef MUSTER_${upper}_TABLE_H`,
    `#define MUSTER_${upper}_TABLE_H`,
    '',
    '/* clang-format off */',
    `enum ${lower}_state { ${states.join(', ')} };`,
    `enum ${lower}_event { ${events.join(', ')} };`,
    `enum ${lower}_action { ${actions.join(', ')} };`,
    '',
    `static const struct ${lower}_row {`,
    `  enum ${lower}_state state;`,
    `  enum ${lower}_event event;`,
    `  enum ${lower}_state next;`,
    `  enum ${lower}_action action;`,
    `} ${lower}_rows[] = {`,
    ...lines,
    '};',
    '/* clang-format on */',
    '',
    '#endif',
    '',
  ].join('\n');
}
