/**
 * Writes a state table as Promela, the language of the model checker SPIN. The result is the role alone: its states, its events and
 * one step. The world that it lives in is written by hand beside it: what an action does there (`inline ROLE_do_ACTION(self)`), which
 * events come when, what may be lost, late or killed, and what must always hold.
 *
 *     mtype state = ROLE_FIRST;                 state as byte or mtype, also an element of an array
 *     ROLE_step(state, ROLE_on_EVENT, self)     the row, if there is one: the next state first, then the actions in order
 */
import { rowsOf, type StateTable } from './state-table.ts';

type AnyTable = StateTable<string, string, string>;

/** The text of a file for `#include` at the top of the model of the world. */
export function promelaOf(...tables: readonly AnyTable[]): string {
  const parts = tables.map(roleText);
  return (
    ['/* Generated from the tables of the same name by `make generate`; do not edit. */', ...parts].join(
      '\n\n',
    ) + '\n'
  );
}

function roleText(table: AnyTable): string {
  const { role, first } = table;
  const rows = rowsOf(table);
  const states = Object.keys(table.rows);
  const events = Object.keys(table.events);
  const actions = [...new Set(rows.flatMap((row) => row.actions))];
  for (const word of [role, ...states, ...events, ...actions])
    if (!/^[A-Za-z][A-Za-z0-9]*$/.test(word))
      throw new Error(`a name of a state table is a word of letters, not "${word}"`);
  const steps = rows.map(({ state, event, next, actions: todo }) => {
    const done = todo.map((action) => `; ${role}_do_${action}(self)`).join('');
    return `  :: state_ == ${role}_${state} && event_ == ${role}_on_${event} -> state_ = ${role}_${next}${done}`;
  });
  return [
    `/* ${role}: begins ${first}. Actions: ${actions.join(', ')}. */`,
    `#define ${role}_FIRST ${role}_${first}`,
    `mtype = { ${states.map((state) => `${role}_${state}`).join(', ')} };`,
    `mtype = { ${events.map((event) => `${role}_on_${event}`).join(', ')} };`,
    `inline ${role}_step(state_, event_, self) {`,
    '  if',
    ...steps,
    '  :: else -> skip',
    '  fi',
    '}',
  ].join('\n');
}
