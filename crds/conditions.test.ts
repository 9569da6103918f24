import { describe, expect, it } from 'vitest';
import { conditionOf, isTrue, setCondition, type ConditionInput } from './conditions.ts';

const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds, 250));
const running: ConditionInput = {
  type: 'Running',
  status: 'True',
  reason: 'RanksRunning',
  message: 'all 4',
  observedGeneration: 1,
};

describe('setCondition', () => {
  it('adds, keeps the transition time while the status stays, and moves it when the status changes', () => {
    const first = setCondition(undefined, running, at(0));
    expect(first).toEqual([{ ...running, lastTransitionTime: '2026-01-01T00:00:00Z' }]);
    const second = setCondition(first, { ...running, reason: 'SomeRanksEnded', message: '3 of 4' }, at(5));
    expect(conditionOf(second, 'Running')).toMatchObject({
      reason: 'SomeRanksEnded',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    });
    const third = setCondition(second, { ...running, status: 'False', reason: 'Finished' }, at(9));
    expect(conditionOf(third, 'Running')?.lastTransitionTime).toBe('2026-01-01T00:00:09Z');
    expect(isTrue(third, 'Running')).toBe(false);
  });

  it('gives back the very same conditions when nothing changes', () => {
    const before = setCondition(undefined, running, at(0));
    expect(setCondition(before, { ...running }, at(60))).toBe(before);
    expect(setCondition(before, { ...running, observedGeneration: 2 }, at(60))).not.toBe(before);
  });

  it('leaves other conditions alone and in their place', () => {
    const two = setCondition(
      setCondition(undefined, running, at(0)),
      { type: 'Placed', status: 'True', reason: 'Placed', message: '' },
      at(0),
    );
    const changed = setCondition(two, { ...running, status: 'False', reason: 'Stopping' }, at(1));
    expect(changed.map((condition) => condition.type)).toEqual(['Running', 'Placed']);
    expect(changed[1]).toBe(two[1]);
  });

  it('cuts messages at what a status may hold', () => {
    const [only] = setCondition(undefined, { ...running, message: 'x'.repeat(40_000) }, at(0));
    expect(only!.message).toHaveLength(32_768);
  });
});
