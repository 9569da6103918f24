import { describe, expect, it } from 'vitest';
import { Ledger } from './ledger.ts';

const all = (): boolean => true;
const put = (ledger: Ledger, key: string, text: string, scope = 'groups/a'): void =>
  ledger.set(key, { text, scope });

describe('the ledger', () => {
  it('tells a new reader everything, then only what changed, and the newest value of it', () => {
    const ledger = new Ledger();
    put(ledger, 'x', '1');
    put(ledger, 'y', '1');
    const first = ledger.since(0, all);
    expect(first).toMatchObject({ all: true, set: [['x', '1'], ['y', '1']], gone: [] }); // prettier-ignore
    put(ledger, 'x', '2');
    put(ledger, 'x', '3');
    const second = ledger.since(first.revision, all);
    expect(second).toMatchObject({ all: false, set: [['x', '3']], gone: [] });
    expect(ledger.since(second.revision, all)).toMatchObject({ all: false, set: [], gone: [] });
  });
  it('takes what is the same for no news', () => {
    const ledger = new Ledger();
    put(ledger, 'x', '1');
    const { revision } = ledger;
    put(ledger, 'x', '1');
    expect(ledger.revision).toBe(revision);
    put(ledger, 'x', '1', 'groups/b');
    expect(ledger.revision).toBeGreaterThan(revision);
  });
  it('tells what is gone, but not of what came back', () => {
    const ledger = new Ledger();
    put(ledger, 'x', '1');
    put(ledger, 'y', '1');
    const { revision } = ledger;
    ledger.remove('x');
    ledger.remove('y');
    ledger.remove('never');
    put(ledger, 'y', '2');
    expect(ledger.since(revision, all)).toMatchObject({ set: [['y', '2']], gone: ['x'] });
  });
  it('begins anew with a reader who was away for more than it remembers, or comes from another ledger', () => {
    const ledger = new Ledger(4);
    put(ledger, 'stays', '1');
    const { revision } = ledger;
    for (let i = 0; i < 9; i++) {
      put(ledger, `x${i}`, '1');
      ledger.remove(`x${i}`);
    }
    expect(ledger.since(revision, all)).toMatchObject({ all: true, set: [['stays', '1']], gone: [] });
    expect(ledger.since(ledger.revision + 1, all).all).toBe(true);
    expect(ledger.since(ledger.revision - 1, all)).toMatchObject({ all: false, gone: ['x8'] });
  });
  it('tells nobody what he may not see, not even that it is gone', () => {
    const ledger = new Ledger();
    put(ledger, 'mine', '1', 'groups/a');
    put(ledger, 'theirs', '1', 'groups/b');
    const maySee = (scope: string): boolean => scope === 'groups/a';
    expect([...ledger.scopesSince(0)].sort()).toEqual(['groups/a', 'groups/b']);
    const first = ledger.since(0, maySee);
    expect(first.set).toEqual([['mine', '1']]);
    ledger.remove('theirs');
    expect(ledger.since(first.revision, maySee)).toMatchObject({ set: [], gone: [] });
  });
});
