/**
 * A protocol as a table: for each state of a role what an event does to it, and what is to be done then. The running code looks
 * up its next step here, and promela.ts writes the same rows as a model for SPIN. An event without a row changes nothing: it came
 * late, twice, or to somebody whom it does not concern. A table knows no time, no messages and no I/O.
 */
export type Row<State extends string, Action extends string> = readonly [next: State, ...actions: Action[]];

export interface StateTable<State extends string, Event extends string, Action extends string> {
  /** Of the role that goes by it, such as `Holder`: a word of letters. */
  readonly role: string;
  readonly first: State;
  /** Every event and what it means. */
  readonly events: Readonly<Record<Event, string>>;
  readonly rows: Readonly<Record<State, Readonly<Partial<Record<Event, Row<State, Action>>>>>>;
}

export interface Step<State extends string, Action extends string> {
  readonly state: State;
  readonly actions: readonly Action[];
  /** False when the event has no row in this state. */
  readonly known: boolean;
}

export function stepOf<State extends string, Event extends string, Action extends string>(
  table: StateTable<State, Event, Action>,
  state: State,
  event: Event,
): Step<State, Action> {
  const row = table.rows[state][event];
  if (row === undefined) return { state, actions: [], known: false };
  return { state: row[0], actions: actionsOf(row), known: true };
}

/** Every row, in the order of the table. */
export function rowsOf<State extends string, Event extends string, Action extends string>(
  table: StateTable<State, Event, Action>,
): readonly { state: State; event: Event; next: State; actions: readonly Action[] }[] {
  return Object.entries(table.rows).flatMap(([state, events]) =>
    Object.entries(events as Record<string, Row<State, Action>>).map(([event, row]) => ({
      state: state as State,
      event: event as Event,
      next: row[0],
      actions: actionsOf(row),
    })),
  );
}

function actionsOf<Action extends string>(row: Row<string, Action>): readonly Action[] {
  return row.slice(1) as Action[];
}

/** The table with one row changed, or struck out: what a test uses to show that a check can fail. */
export function mutated<State extends string, Event extends string, Action extends string>(
  table: StateTable<State, Event, Action>,
  state: NoInfer<State>,
  event: NoInfer<Event>,
  row: Row<NoInfer<State>, NoInfer<Action>> | undefined,
): StateTable<State, Event, Action> {
  const { [event]: _old, ...others } = table.rows[state] as Partial<Record<Event, Row<State, Action>>>;
  const events = row === undefined ? others : { ...others, [event]: row };
  return { ...table, rows: { ...table.rows, [state]: events } };
}
