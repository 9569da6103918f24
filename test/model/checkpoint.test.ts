/** The checkpoint protocol's tables, searched by SPIN in the world of checkpoint.pml; and that the search finds wrong rows. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cutTable, memberTable } from '../../wire/checkpoint-protocol.ts';
import { promelaOf } from '../../wire/promela.ts';
import { mutated } from '../../wire/state-table.ts';
import { search, type Found, type Search } from './spin.ts';

const world = readFileSync(new URL('checkpoint.pml', import.meta.url), 'utf8');
const thaws = { claim: 'thaws', weaklyFair: true };
/** Faults a search may place wherever it likes. */
const faults = 1;

function searched(
  tables: { member?: typeof memberTable; cut?: typeof cutTable },
  property: Search['property'],
  { sandboxes, hold }: { sandboxes: 2 | 3; hold: boolean },
): Promise<Found> {
  const { member = memberTable, cut = cutTable } = tables;
  const files = { 'checkpoint.gen.pml': promelaOf(member, cut), 'checkpoint.pml': world };
  const defines = { N: sandboxes, MANY: faults, HOLD: hold ? 1 : 0 };
  return search({ files, main: 'checkpoint.pml', property, defines });
}

describe('the cut of three sandboxes, with messages lost and late, time-outs and kills anywhere', () => {
  it.each([false, true])(
    'is Ready only with every image, all of one cut, and ends only what is saved (to be ended: %s)',
    async (hold) => {
      const found = await searched({}, 'Safety', { sandboxes: 3, hold });
      expect(found).toMatchObject({ holds: true, error: '' });
      expect(found.states).toBeGreaterThan(50_000);
    },
  );

  it('leaves nobody frozen', async () => {
    expect(await searched({}, thaws, { sandboxes: 3, hold: true })).toMatchObject({ holds: true });
  });
});

describe('a wrong row is found', () => {
  const two = { sandboxes: 2, hold: false } as const;
  const wrong = <T>(table: T): never => table as never;

  it('who thaws in time and stays dumped tears the cut', async () => {
    const member = mutated(memberTable, 'Dumped', 'TimedOut', ['Dumped', 'Thaw']);
    expect((await searched({ member: wrong(member) }, 'Safety', two)).error).toContain('assertion violated');
  });

  it('an agent started anew that takes a dump that was cut off for a whole one', async () => {
    const member = mutated(memberTable, 'Dumping', 'Restarted', ['Dumped']);
    expect((await searched({ member: wrong(member) }, 'Safety', two)).error).toContain('assertion violated');
  });

  it('a cut that is ready before images are saved', async () => {
    const cut = mutated(cutTable, 'Committing', 'AllCommitted', ['Ready']);
    expect((await searched({ cut: wrong(cut) }, 'Safety', two)).holds).toBe(false);
  });

  it('a member that waits for its controller for ever', async () => {
    const member = mutated(memberTable, 'Prepared', 'TimedOut', undefined);
    expect((await searched({ member: wrong(member) }, thaws, two)).holds).toBe(false);
  });
});
