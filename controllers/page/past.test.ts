import { describe, expect, it } from 'vitest';
import type { ProcessGroup, ProcessGroupStatus } from '../../crds/types.gen.ts';
import { pastOf } from './past.ts';

const at = (ms: number): string => new Date(ms).toISOString();

const group = (status?: ProcessGroupStatus): ProcessGroup => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name: 'a', creationTimestamp: '1970-01-01T00:01:40Z' },
  spec: {},
  ...(status && { status }),
});

describe('the past of a group', () => {
  it('is what its status keeps, from its making on', () => {
    const phases = [
      { phase: 'Starting', since: at(104_250) },
      { phase: 'Running', since: at(104_500) },
      { phase: 'Suspended', since: at(200_000) },
    ] as const satisfies ProcessGroupStatus['phases'];
    expect(pastOf(group({ phase: 'Suspended', phases: [...phases] }))).toEqual([
      ['Pending', 100_000],
      ['Starting', 104_250],
      ['Running', 104_500],
      ['Suspended', 200_000],
    ]);
  });
  it('begins with the first phase where that came at once, and with the making where nobody has looked yet', () => {
    expect(pastOf(group({ phases: [{ phase: 'Starting', since: at(100_700) }] }))).toEqual([
      ['Starting', 100_700],
    ]);
    expect(pastOf(group())).toEqual([['Pending', 100_000]]);
  });
  it('never goes back in time, whatever a status says', () => {
    const odd = { phase: 'Failed', startTime: at(50), runningTime: 'never', finishTime: at(20) } as const;
    const times = pastOf(group(odd)).map(([, ms]) => ms);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.every(Number.isFinite)).toBe(true);
  });
});
