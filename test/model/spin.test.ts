/** From a table to a model that SPIN searches: a lamp that must not burn while somebody sleeps, right and with a row that is wrong. */
import { describe, expect, it } from 'vitest';
import { promelaOf } from '../../wire/promela.ts';
import { mutated, stepOf, type StateTable } from '../../wire/state-table.ts';
import { search, type Found } from './spin.ts';

type State = 'Dark' | 'Bright';
type Event = 'Pressed' | 'Slept';

const lamp: StateTable<State, Event, 'Tell'> = {
  role: 'Lamp',
  first: 'Dark',
  events: { Pressed: 'somebody pressed the button', Slept: 'somebody fell asleep' },
  rows: { Dark: { Pressed: ['Bright', 'Tell'] }, Bright: { Pressed: ['Dark'], Slept: ['Dark', 'Tell'] } },
};

const world = `#include "lamp.gen.pml"
mtype lamp = Lamp_FIRST;
byte told;
bool asleep;
inline Lamp_do_Tell(self) { told = self }
active proctype person() {
  do
  :: !asleep -> Lamp_step(lamp, Lamp_on_Pressed, 1)
  :: !asleep -> atomic { asleep = true; Lamp_step(lamp, Lamp_on_Slept, 2) }
  :: asleep -> assert(lamp == Lamp_Dark); asleep = false
  od
}
ltl wakes { [] (asleep -> <> !asleep) }
ltl sleeps { [] <> asleep }
`;

function searched(table: typeof lamp, property: Parameters<typeof search>[0]['property']): Promise<Found> {
  return search({
    files: { 'lamp.gen.pml': promelaOf(table), 'lamp.pml': world },
    main: 'lamp.pml',
    property,
  });
}

describe('a table as a model', () => {
  it('knows a step and the lack of one', () => {
    expect(stepOf(lamp, 'Dark', 'Pressed')).toEqual({ state: 'Bright', actions: ['Tell'], known: true });
    expect(stepOf(lamp, 'Dark', 'Slept')).toEqual({ state: 'Dark', actions: [], known: false });
  });

  it('holds where the table is right', async () => {
    const found = await searched(lamp, 'Safety');
    expect(found).toMatchObject({ holds: true, error: '' });
    expect(found.states).toBeGreaterThan(3);
  });

  it('finds what a wrong row does', async () => {
    const found = await searched(mutated(lamp, 'Bright', 'Slept', undefined), 'Safety');
    expect(found.holds).toBe(false);
    expect(found.error).toContain('assertion violated');
    expect(found.trail).toContain('asleep');
  });

  it('tells what comes about in the end from what may never', async () => {
    expect(await searched(lamp, { claim: 'wakes', weaklyFair: true })).toMatchObject({ holds: true });
    expect(await searched(lamp, { claim: 'sleeps', weaklyFair: true })).toMatchObject({ holds: false });
  });
});
