import { expect, test } from 'vitest';
import { ByGroup, type OfGroup } from './by-group.ts';

const object = (name: string, processGroupName: string, namespace = 'default'): OfGroup => ({
  metadata: { namespace, name },
  spec: { processGroupName },
});
const names = (all: ReadonlyMap<string, OfGroup>): string[] => [...all.keys()];

test('objects are found by their group, in the order in which they came, and only there', () => {
  const all = new ByGroup<OfGroup>();
  all.changed('default/a', object('a', 'g'), undefined);
  all.changed('default/b', object('b', 'h'), undefined);
  all.changed('default/c', object('c', 'g'), undefined);
  all.changed('other/a', object('a', 'g', 'other'), undefined);
  expect(names(all.of('default/g'))).toEqual(['default/a', 'default/c']);
  expect(names(all.of('default/h'))).toEqual(['default/b']);
  expect(names(all.of('other/g'))).toEqual(['other/a']);
  expect(names(all.of('default/none'))).toEqual([]);
});

test('one that changes stays, one that is gone or of another group now leaves', () => {
  const all = new ByGroup<OfGroup>();
  const [first, again] = [object('a', 'g'), object('a', 'g')];
  all.changed('default/a', first, undefined);
  all.changed('default/a', again, first);
  expect(all.of('default/g').get('default/a')).toBe(again);
  const other = object('a', 'h');
  all.changed('default/a', other, again);
  expect(names(all.of('default/g'))).toEqual([]);
  expect(names(all.of('default/h'))).toEqual(['default/a']);
  all.changed('default/a', undefined, other);
  expect(names(all.of('default/h'))).toEqual([]);
});
