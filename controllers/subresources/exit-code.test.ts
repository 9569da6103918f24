import { describe, expect, it } from 'vitest';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { runEndOf } from './exit-code.ts';

function group(type: string, reason: string, exitSummary: object, size = 4): ProcessGroup {
  const conditions = [{ type, status: 'True', reason, message: 'why' }];
  return { spec: { size }, status: { conditions, exitSummary } } as unknown as ProcessGroup;
}

describe('runEndOf', () => {
  it.each([
    ['Succeeded', 'AllRanksSucceeded', {}, 0],
    ['Failed', 'RankFailed', { code: 7 }, 7],
    ['Failed', 'RankFailed', { code: 255 }, 255],
    ['Failed', 'RankSignaled', { signal: 'SIGSEGV' }, 139],
    ['Failed', 'RankSignaled', { signal: 'SIGKILL' }, 137],
    ['Failed', 'Aborted', { code: 300 }, 44],
    ['Failed', 'StartFailed', {}, 126],
    ['Failed', 'WallTimeExceeded', {}, 124],
    ['Failed', 'NodeLost', {}, 1],
    ['Stalled', 'NotSupported', {}, 2],
  ])('%s, %s, %j is %i', (type, reason, summary, code) => {
    expect(runEndOf(group(type, reason, summary))?.code).toBe(code);
  });

  it('knows no end of what has none', () => {
    expect(runEndOf({ spec: {}, status: { conditions: [] } } as unknown as ProcessGroup)).toBeUndefined();
    expect(runEndOf({ spec: {} } as unknown as ProcessGroup)).toBeUndefined();
  });

  it('tells which rank failed, unless there is only one', () => {
    expect(runEndOf(group('Failed', 'RankFailed', { code: 3 }))?.text).toBe('muster: why');
    expect(runEndOf(group('Failed', 'RankFailed', { code: 3 }, 1))?.text).toBe('');
  });
});
