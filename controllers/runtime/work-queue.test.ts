import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock } from './manual-clock.ts';
import { WorkQueue } from './work-queue.ts';

describe('WorkQueue', () => {
  it('folds additions and brings a key again that was added while active', async () => {
    const queue = new WorkQueue(new ManualClock());
    queue.add('a');
    queue.add('a');
    expect(await queue.take()).toBe('a');
    queue.add('a');
    expect(queue.size).toEqual({ dirty: 1, active: 1, delayed: 0 });
    queue.done('a');
    expect(await queue.take()).toBe('a');
    queue.done('a');
    expect(queue.size).toEqual({ dirty: 0, active: 0, delayed: 0 });
  });

  it('keeps the earliest delay and forgets it when work begins', async () => {
    const clock = new ManualClock();
    const queue = new WorkQueue(clock);
    queue.addAfter('a', 100);
    queue.addAfter('a', 50);
    queue.addAfter('a', 70);
    clock.advance(49);
    expect(queue.size.dirty).toBe(0);
    clock.advance(1);
    expect(await queue.take()).toBe('a');
    queue.addAfter('a', 10);
    queue.done('a');
    queue.add('a');
    expect(await queue.take()).toBe('a');
    expect(clock.pending).toBe(0);
  });

  it('gives what is late when nothing else is ready', async () => {
    const queue = new WorkQueue(new ManualClock());
    for (const key of ['a', 'b', 'c']) queue.addLate(key);
    queue.add('d');
    queue.add('b');
    queue.addLate('d');
    expect(queue.size.dirty).toBe(4);
    const taken = [await queue.take(), await queue.take(), await queue.take()];
    queue.addLate('a'); // being worked on: again
    queue.done('a');
    expect([...taken, await queue.take(), await queue.take()]).toEqual(['d', 'b', 'a', 'a', 'c']);
    const waiting = queue.take();
    queue.addLate('e');
    expect(await waiting).toBe('e');
  });

  it('gives waiting takers nothing when closed', async () => {
    const queue = new WorkQueue(new ManualClock());
    const taken = queue.take();
    queue.close();
    queue.add('a');
    expect(await taken).toBeUndefined();
    expect(await queue.take()).toBeUndefined();
  });

  it('never gives a key to two workers and loses none', async () => {
    const step = fc.oneof(
      fc.record({ op: fc.constant('add' as const), key: fc.constantFrom('a', 'b', 'c') }),
      fc.record({ op: fc.constant('later' as const), key: fc.constantFrom('a', 'b', 'c') }),
      fc.record({
        op: fc.constantFrom('take' as const, 'done' as const, 'tick' as const),
        key: fc.constant(''),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const clock = new ManualClock();
        const queue = new WorkQueue(clock);
        const wanted = new Set<string>();
        const later = new Set<string>();
        const active: string[] = [];
        const take = async (): Promise<void> => {
          const key = (await queue.take())!;
          expect(active).not.toContain(key);
          expect(wanted.delete(key)).toBe(true);
          later.delete(key);
          active.push(key);
        };
        for (const { op, key } of steps) {
          if (op === 'add') {
            queue.add(key);
            wanted.add(key);
          } else if (op === 'later') {
            queue.addAfter(key, 5);
            later.add(key);
          } else if (op === 'tick') {
            clock.advance(5);
            for (const due of later) wanted.add(due);
            later.clear();
          } else if (op === 'done') {
            const first = active.shift();
            if (first !== undefined) queue.done(first);
          } else if ([...wanted].some((other) => !active.includes(other))) await take();
        }
        clock.advance(5);
        for (const due of later) wanted.add(due);
        for (const key of active.splice(0)) queue.done(key);
        while (wanted.size > 0) await take();
        expect(queue.size.dirty).toBe(0);
      }),
    );
  });
});
