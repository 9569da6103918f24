import { expect, it } from 'vitest';
import { DesiredBook } from './desired-book.ts';

it('lets those wait who need to know that a group has no sandboxes', async () => {
  const book = new DesiredBook(1, () => undefined);
  const order: string[] = [];
  const waiting = book.untilComplete(new AbortController().signal).then(() => order.push('waited'));
  await book.untilComplete(AbortSignal.abort());
  order.push('given up');
  book.markComplete();
  await waiting;
  await book.untilComplete(new AbortController().signal);
  expect(order).toEqual(['given up', 'waited']);
});

it('holds a sandbox where its pages are for as long as the record says so', () => {
  const told: string[] = [];
  const book = new DesiredBook(1, (node, keys) => void told.push(`${node} ${keys.join()}`));
  const id = (incarnation: number) => ({ groupUid: 'g', ordinal: 0, incarnation });
  const at = (node: string, incarnation: number) => [{ node, spec: { id: id(incarnation) } }];
  const wish = () => ({ want: 'Run' as const, graceSeconds: 1, mayStart: false });
  book.assign('g', at('node1', 1), wish);
  book.reassign('g', at('node2', 2), wish);
  const holders = [{ ordinal: 0, node: 'node1', migrationUid: 'm', name: 'default/m' }];
  expect(book.follow('g', holders)).toEqual([]);
  expect(book.moveFor(id(1))).toMatchObject({ step: 'Hold', peerNode: 'node2', migrationUid: 'm' });
  expect(book.moveFor(id(2))).toMatchObject({ step: 'Follow', peerNode: 'node1', incarnation: 1 });
  expect([...book.ofNode('node1').keys()]).toEqual(['g/0/1']);
  expect([book.owns('node1', id(1)), book.owns('node2', id(2)), book.owns('node3', id(1))]).toEqual([
    true,
    true,
    false,
  ]);
  expect([...book.dependentsOf('node1')]).toEqual(['g/0/2']);
  told.length = 0;
  expect(book.follow('g', []).map(({ node }) => node)).toEqual(['node1']);
  book.settle('g', true);
  expect([...book.ofNode('node1').keys()]).toEqual([]);
  expect(told).toContain('node1 g/0/1');
  expect(book.moveFor(id(2))).toEqual({ step: 'Stay' });
});

it('lets go of what it holds with its group', () => {
  const book = new DesiredBook(1, () => undefined);
  const id = { groupUid: 'g', ordinal: 0, incarnation: 2 };
  book.assign('g', [{ node: 'node2', spec: { id } }], () => ({
    want: 'Run',
    graceSeconds: 1,
    mayStart: false,
  }));
  book.follow('g', [{ ordinal: 0, node: 'node1', migrationUid: 'm', name: 'default/m' }]);
  book.forget('g');
  expect([...book.ofNode('node1').keys()]).toEqual([]);
});
