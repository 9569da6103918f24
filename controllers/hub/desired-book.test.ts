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
