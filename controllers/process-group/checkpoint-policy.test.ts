import { describe, expect, it } from 'vitest';
import type { Checkpoint } from '../../crds/types.gen.ts';
import { bestIntervalSeconds, dueInMs, notKept } from './checkpoint-policy.ts';
import type { Seen } from './seen.ts';

const nowMs = Date.parse('2026-01-01T01:00:00Z');
const made = (name: string, step: 'Ready' | 'Failed' | 'Dumping', minutesAgo: number): Checkpoint => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'Checkpoint',
  metadata: { name, uid: name },
  spec: { processGroupName: 'g' },
  status: { step, finishTime: new Date(nowMs - minutesAgo * 60_000).toISOString() },
});

function seenOf(policyCheckpoints: Checkpoint[], interval: number | 'Auto' = 600, restore?: string): Seen {
  const status = {
    activeSince: new Date(nowMs - 30 * 60_000).toISOString(),
    ...(restore ? { restore: { checkpointName: restore, checkpointUid: restore, manifestDigest: '' } } : {}),
  };
  const group = { metadata: { name: 'g' }, spec: { checkpointPolicy: { interval, keep: 2 } }, status };
  return { nowMs, group, policyCheckpoints, sandboxes: [{ node: 'a' }] } as unknown as Seen;
}

describe('a policy', () => {
  it('is due an interval after the group began to run, or after the last one', () => {
    expect(dueInMs(seenOf([]))).toBe(0);
    expect(dueInMs(seenOf([], 3600))).toBe(30 * 60_000);
    expect(dueInMs(seenOf([made('a', 'Ready', 4)]))).toBe(6 * 60_000);
    expect(dueInMs(seenOf([made('a', 'Failed', 4)]))).toBe(6 * 60_000);
    expect(dueInMs(seenOf([made('a', 'Dumping', 4)]))).toBeUndefined();
  });

  it('keeps as many as it says, the one that the group goes on from, and the last failure', () => {
    const all = [1, 2, 3, 4].map((each) => made(`r${each}`, 'Ready', 60 - each));
    const failed = [made('f1', 'Failed', 9), made('f2', 'Failed', 8)];
    expect(notKept(seenOf([...all, ...failed])).map(({ metadata }) => metadata.name)).toEqual([
      'r1',
      'r2',
      'f1',
    ]);
    expect(notKept(seenOf(all, 600, 'r1')).map(({ metadata }) => metadata.name)).toEqual(['r2']);
  });

  it('chooses longer intervals for dearer checkpoints, shorter ones for more nodes', () => {
    const one = bestIntervalSeconds(10, 1);
    expect(one).toBeGreaterThan(7000);
    expect(one).toBeLessThan(7300);
    expect(bestIntervalSeconds(40, 1)).toBeGreaterThan(1.9 * one);
    expect(bestIntervalSeconds(10, 100)).toBeLessThan(one / 9);
    expect(bestIntervalSeconds(0.001, 10_000)).toBe(60);
    expect(bestIntervalSeconds(1e9, 1)).toBe(30 * 24 * 3600);
  });
});
