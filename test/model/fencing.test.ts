/**
 * The fencing protocol, searched by SPIN: the tables that the running code goes by, in a world that loses, delays, crashes and starts
 * again (wire/fencing.pml). Rows are changed to show that the search finds what goes wrong.
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { guard, keeper, warden } from '../../wire/fencing.ts';
import { promelaOf } from '../../wire/promela.ts';
import { mutated } from '../../wire/state-table.ts';
import { search, type Found } from './spin.ts';

interface Tables {
  guard?: typeof guard;
  keeper?: typeof keeper;
  warden?: typeof warden;
}

async function searched(changed: Tables, defines: Record<string, number> = {}): Promise<Found> {
  const tables = { guard, keeper, warden, ...changed };
  const world = await readFile(new URL('../../wire/fencing.pml', import.meta.url), 'utf8');
  const files = {
    'fencing.pml': world,
    'fencing.gen.pml': promelaOf(tables.guard, tables.keeper, tables.warden),
  };
  return search({ files, main: 'fencing.pml', property: 'Safety', defines });
}

describe('fencing', () => {
  it('never lets two incarnations run, and none stand still for ever', async () => {
    const found = await searched({});
    expect(found.trail).toBe('');
    expect(found.holds).toBe(true);
    expect(found.states).toBeGreaterThan(100_000);
  });

  it('needs the dead-man timer: two incarnations run where it neither stops nor kills', async () => {
    const idle = mutated(mutated(guard, 'Running', 'Expired', ['Stopped']), 'Stopped', 'HardEnd', ['Ended']);
    const found = await searched({ guard: idle });
    expect(found).toMatchObject({
      holds: false,
      error: expect.stringContaining('assertion violated 0') as string,
    });
    expect(found.trail).toContain('Warden_Clearing');
  });

  it('needs the hard end to pass: two incarnations run where a copy starts before', async () => {
    const struck = mutated(guard, 'Running', 'Expired', ['Running']);
    const found = await searched({ guard: struck }, { COPY: 2 });
    expect(found).toMatchObject({
      holds: false,
      error: expect.stringContaining('assertion violated 0') as string,
    });
  });

  it('needs an agent that was started anew to thaw what its predecessor froze: the group stands still where it does not', async () => {
    const found = await searched({
      keeper: mutated(keeper, 'Unsure', 'Granted', ['Holding', 'Renew', 'Plug', 'Start']),
    });
    expect(found).toMatchObject({ holds: false, error: expect.stringContaining('incarnation') as string });
  });
});
