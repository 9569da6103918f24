/** The migration protocol's tables, searched by SPIN in the world of migration.pml; and that the search finds wrong rows. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { comerTable, leaverTable, moveTable } from '../../wire/migration-protocol.ts';
import { promelaOf } from '../../wire/promela.ts';
import { mutated } from '../../wire/state-table.ts';
import { search, type Found, type Search } from './spin.ts';

const world = readFileSync(new URL('migration.pml', import.meta.url), 'utf8');
const goesOn = { claim: 'goes_on', weaklyFair: true };
const hasAll = { claim: 'has_all', weaklyFair: true };

interface Tables {
  leaver?: typeof leaverTable;
  comer?: typeof comerTable;
  move?: typeof moveTable;
}

function searched(
  tables: Tables,
  property: Search['property'],
  faults: number,
  model = world,
  defines: Record<string, number> = {},
): Promise<Found> {
  const { leaver = leaverTable, comer = comerTable, move = moveTable } = tables;
  const files = { 'migration.gen.pml': promelaOf(leaver, comer, move), 'migration.pml': model };
  return search({ files, main: 'migration.pml', property, defines: { MANY: faults, ...defines } });
}

const wrong = <T>(table: T): never => table as never;

describe('a move, with agents and controllers killed anywhere, a late one that still writes, messages late', () => {
  it.each([
    { POSTCOPY: 0, pages: 'come with it' },
    { POSTCOPY: 1, pages: 'follow' },
  ])(
    'never has both run, kills only what is not on record or needed, and lets nothing run that is not, where pages $pages',
    async ({ POSTCOPY }) => {
      const found = await searched({}, 'Safety', 2, world, { POSTCOPY });
      expect(found).toMatchObject({ holds: true, error: '' });
      expect(found.states).toBeGreaterThan(50_000);
    },
  );

  it('leaves nobody standing still for ever', async () => {
    expect(await searched({}, goesOn, 1)).toMatchObject({ holds: true });
  });

  it('has nobody wait for pages for ever that are nowhere', async () => {
    expect(await searched({}, hasAll, 1)).toMatchObject({ holds: true });
  });
});

describe('a wrong row is found', () => {
  it('who has left and thaws when its agent is started anew', async () => {
    const leaver = mutated(leaverTable, 'Left', 'Restarted', ['Stayed', 'Discard', 'Thaw']);
    expect((await searched({ leaver: wrong(leaver) }, 'Safety', 2)).error).toContain('assertion violated');
  });

  it('who comes and runs as soon as it is placed', async () => {
    const comer = mutated(comerTable, 'Placing', 'Done', ['Running', 'Plug', 'Thaw']);
    expect((await searched({ comer: wrong(comer) }, 'Safety', 1)).error).toContain('assertion violated');
  });

  it('a commit that is not by compare-and-set', async () => {
    const careless = world.replace(
      'happened == Move_on_AllPlaced && version == seen_version',
      'happened == Move_on_AllPlaced',
    );
    expect(careless).not.toBe(world);
    expect((await searched({}, 'Safety', 2, careless)).error).toContain('assertion violated');
  });

  it('who runs without its pages, and goes on waiting when they are lost', async () => {
    const comer = mutated(comerTable, 'Following', 'ToldRun', undefined);
    expect((await searched({ comer: wrong(comer) }, hasAll, 2)).holds).toBe(false);
  });

  it('a commit that does not say that pages are where it was', async () => {
    const careless = world.replace('claim = postcopy; pages = postcopy;', 'claim = postcopy;');
    expect(careless).not.toBe(world);
    expect((await searched({}, 'Safety', 1, careless)).error).toContain('assertion violated');
  });

  it('who has left and is never told to stay', async () => {
    const leaver = mutated(leaverTable, 'Left', 'ToldStay', undefined);
    expect((await searched({ leaver: wrong(leaver) }, goesOn, 2)).holds).toBe(false);
  });
});
