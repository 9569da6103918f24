import { describe, expect, it } from 'vitest';
import { ManualClock } from '../runtime/manual-clock.ts';
import { DesiredBook, type Want } from './desired-book.ts';
import { LeaseBook } from './lease-book.ts';

const times = { expiresAfterMs: 1000, endsAfterMs: 2000 };
const idOf = (groupUid: string) => ({ groupUid, ordinal: 0, incarnation: 1 });

function scene(leads = () => true) {
  const clock = new ManualClock();
  const desired = new DesiredBook(0, () => undefined);
  const wish = (want: Want) => () => ({ want, graceSeconds: 0, mayStart: true });
  const place = (uid: string, node: string, lease?: typeof times): void =>
    desired.assign(uid, [{ node, spec: { id: idOf(uid), ...(lease ? { lease } : {}) } }], wish('Run'));
  return { clock, desired, wish, place, book: new LeaseBook(clock, desired, leads) };
}

describe('leases', () => {
  it('are granted to sandboxes of the node that need one', () => {
    const { book, place } = scene();
    place('a', 'one', times);
    place('b', 'one');
    place('c', 'two', times);
    expect(book.grant('one')).toEqual([idOf('a')]);
    expect(book.grant('three')).toEqual([]);
  });

  it.each([
    ['Run', 1],
    ['Freeze', 1],
    ['End', 1],
    ['Kill', 0],
    ['Keep', 0],
  ] as const)('of a sandbox that is to %s: %i', (want, granted) => {
    const { book, place, desired, wish } = scene();
    place('a', 'one', times);
    desired.want('a', wish(want));
    expect(book.grant('one')).toHaveLength(granted);
  });

  it('are not granted by who leads no more, nor to an incarnation that is over', () => {
    let leads = true;
    const { book, place, desired } = scene(() => leads);
    place('a', 'one', times);
    leads = false;
    expect(book.grant('one')).toEqual([]);
    leads = true;
    desired.forget('a');
    expect(book.grant('one')).toEqual([]);
  });

  it('count from the last grant, or as granted when this controller started', () => {
    const { book, place, clock } = scene();
    clock.advance(700);
    expect(book.sinceGrantMs(idOf('a'))).toBe(700);
    place('a', 'one', times);
    book.begin(idOf('a'));
    clock.advance(100);
    expect(book.sinceGrantMs(idOf('a'))).toBe(100);
    book.grant('one');
    expect(book.sinceGrantMs(idOf('a'))).toBe(0);
  });
});
