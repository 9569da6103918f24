import { expect, it } from 'vitest';
import { isForking, stateOf } from './forking.ts';

it('reads the state whatever the name', () => {
  expect(stateOf('12 (a) D (b) S 1 12')).toBe('S');
  expect(stateOf('12 (sh) D 1 12')).toBe('D');
});

it('finds nothing of the kind in who runs, or has ended', () => {
  expect(isForking([process.pid, 2 ** 22 + 1])).toBe(false);
});
