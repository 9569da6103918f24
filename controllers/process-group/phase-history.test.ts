import { expect, test } from 'vitest';
import type { ProcessGroupStatus } from '../../crds/types.gen.ts';
import { mostPhases, withPhaseNoted } from './phase-history.ts';

const at = (ms: number): string => new Date(ms).toISOString();
const through = (...steps: readonly (readonly [NonNullable<ProcessGroupStatus['phase']>, number])[]) =>
  steps.reduce<ProcessGroupStatus>(
    (before, [phase, ms]) => withPhaseNoted(before, { ...before, phase }, ms),
    {},
  );
const steps = (status: ProcessGroupStatus) => status.phases?.map(({ phase, since }) => [phase, since]);

test('each phase is noted once, with when it began', () => {
  const status = through(['Starting', 1_250], ['Running', 1_900], ['Running', 9_000], ['Suspended', 9_500]);
  expect(steps(status)).toEqual([
    ['Starting', at(1_250)],
    ['Running', at(1_900)],
    ['Suspended', at(9_500)],
  ]);
  expect(withPhaseNoted(status, status, 20_000)).toBe(status);
});

test('a clock that runs backwards turns no order around', () => {
  expect(steps(through(['Starting', 5_000], ['Running', 3_000]))).toEqual([
    ['Starting', at(5_000)],
    ['Running', at(5_000)],
  ]);
});

test('the launch and the latest are kept, and no more than so many', () => {
  const often = Array.from({ length: 500 }, (_, n) => [n % 2 ? 'Running' : 'Suspended', 3_000 + n] as const);
  const status = through(['Pending', 1], ['Starting', 2], ['Running', 3], ...often);
  expect(status.phases).toHaveLength(mostPhases);
  expect(steps(status)!.slice(0, 4)).toEqual([
    ['Pending', at(1)],
    ['Starting', at(2)],
    ['Running', at(3)],
    ['Running', at(3_500 - (mostPhases - 3))],
  ]);
  expect(status.phases!.at(-1)).toEqual({ phase: 'Running', since: at(3_499) });
  expect(JSON.stringify(status.phases).length).toBeLessThan(2_500);
});

test('a group that ran before phases were noted begins with what its times tell', () => {
  const before = { phase: 'Running', startTime: at(1_000), runningTime: at(2_000) } as const;
  expect(steps(withPhaseNoted(before, before, 9_000))).toEqual([
    ['Starting', at(1_000)],
    ['Running', at(2_000)],
  ]);
  expect(steps(withPhaseNoted(before, { ...before, phase: 'Suspended' }, 9_000))!.at(-1)).toEqual([
    ...['Suspended', at(9_000)],
  ]);
});
