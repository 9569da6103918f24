import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bindingOf, cpuListOf, ProcessorLedger } from './processors.ts';
import { parseCpuList, topologyOf } from './topology.ts';

/** Two sockets of two cores of two processors. */
const topology = topologyOf(
  Array.from({ length: 8 }, (_, cpu) => ({ cpu, core: (cpu >> 1) & 1, socket: cpu >> 2 })),
);

test('each rank has a core, and the next sandbox goes on where there is room', () => {
  const ledger = new ProcessorLedger(topology);
  expect(ledger.take('a', 'Core', 2)).toEqual([
    [0, 1],
    [2, 3],
  ]);
  expect(ledger.take('b', 'Core', 1)).toEqual([[4, 5]]);
  ledger.release('a');
  expect(ledger.take('c', 'Core', 4)).toEqual([
    [0, 1],
    [2, 3],
    [6, 7],
    [0, 1],
  ]);
});

test('a rank bound to a socket makes all of it less free', () => {
  const ledger = new ProcessorLedger(topology);
  expect(ledger.take('a', 'Socket', 1)).toEqual([[0, 1, 2, 3]]);
  expect(ledger.take('b', 'Core', 1)).toEqual([[4, 5]]);
  expect(ledger.take('c', 'Socket', 3)).toEqual([
    [0, 1, 2, 3],
    [4, 5, 6, 7],
    [0, 1, 2, 3],
  ]);
});

test('what is not bound takes nothing', () => {
  const ledger = new ProcessorLedger(topology);
  expect(ledger.take('a', 'None', 3)).toBeNull();
  expect(ledger.take('b', 'Core', 1)).toEqual([[0, 1]]);
});

test('an agent that starts anew knows what was taken', () => {
  const ledger = new ProcessorLedger(topology);
  ledger.hold('a', [[0, 1]]);
  expect(ledger.take('b', 'Core', 1)).toEqual([[2, 3]]);
});

test('cores carry numbers of ranks that differ by one at most', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 6 }), (sandboxes) => {
      const ledger = new ProcessorLedger(topology);
      const counts = new Map<string, number>();
      sandboxes.forEach((ranks, at) => {
        for (const cpus of ledger.take(String(at), 'Core', ranks) ?? [])
          counts.set(cpuListOf(cpus), (counts.get(cpuListOf(cpus)) ?? 0) + 1);
      });
      const each = ['0-1', '2-3', '4-5', '6-7'].map((core) => counts.get(core) ?? 0);
      expect(Math.max(...each) - Math.min(...each)).toBeLessThanOrEqual(1);
    }),
  );
});

test('lists of processors are written as they are read', () => {
  expect(cpuListOf([4, 0, 1])).toBe('0-1,4');
  expect(parseCpuList(cpuListOf([0, 2, 3, 9]))).toEqual([0, 2, 3, 9]);
  expect(bindingOf('Core', topologyOf([]), 1, [])).toEqual([[]]);
});
