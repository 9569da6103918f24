import { describe, expect, it } from 'vitest';
import type { ProcessGroup, ProcessGroupStatus } from '../../crds/types.gen.ts';
import { foldPast, pastOf } from './past.ts';

const at = (second: number): string => new Date(second * 1000).toISOString().replace('.000', '');

const group = (status: ProcessGroupStatus, createdSecond = 100): ProcessGroup => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name: 'a', creationTimestamp: at(createdSecond) },
  spec: {},
  status,
});
const suspended = (status: 'True' | 'False', second: number): ProcessGroupStatus => ({
  conditions: [{ type: 'Suspended', status, reason: 'Frozen', message: '', lastTransitionTime: at(second) }],
});

describe('the past of a group', () => {
  it('is followed phase by phase, with the time at which each was seen', () => {
    let past = foldPast(undefined, group({ phase: 'Pending' }), 100_400);
    past = foldPast(past, group({ phase: 'Starting' }), 100_450);
    past = foldPast(past, group({ phase: 'Starting', restarts: 0 }), 100_500);
    past = foldPast(past, group({ phase: 'Running' }), 100_900);
    expect(past).toEqual([
      ['Pending', 100_400],
      ['Starting', 100_450],
      ['Running', 100_900],
    ]);
  });
  it('is read from the status of one that was there before', () => {
    const running = { phase: 'Running', startTime: at(101), runningTime: at(103) } as const;
    expect(pastOf(group(running), 500_000)).toEqual([
      ['Pending', 100_000],
      ['Starting', 101_000],
      ['Running', 103_000],
    ]);
    expect(
      pastOf(group({ ...running, ...suspended('True', 200), phase: 'Suspended' }), 500_000).at(-1),
    ).toEqual([...['Suspended', 200_000]]);
    expect(pastOf(group({ ...running, phase: 'Failed', finishTime: at(300) }), 500_000).at(-1)).toEqual([
      ...['Failed', 300_000],
    ]);
  });
  it('never goes back in time, whatever a status says', () => {
    const odd = { phase: 'Failed', startTime: at(50), runningTime: 'never', finishTime: at(20) } as const;
    const times = pastOf(group(odd), 500_000).map(([, ms]) => ms);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.every(Number.isFinite)).toBe(true);
  });
  it('is bounded, and keeps the launch', () => {
    let past = foldPast(undefined, group({ phase: 'Pending' }), 100_000);
    for (let i = 1; i < 1000; i++) {
      past = foldPast(past, group({ phase: i % 2 === 0 ? 'Suspended' : 'Running' }), 100_000 + i);
    }
    expect(past.length).toBeLessThanOrEqual(48);
    expect(past[0]).toEqual(['Pending', 100_000]);
    expect(past[1]).toEqual(['Running', 100_001]);
    expect(past.at(-1)).toEqual(['Running', 100_999]);
  });
});
