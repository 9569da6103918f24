import { describe, expect, it } from 'vitest';
import type { FeedAct, FeedEvent, FeedGroup } from '../wire/page-feed.ts';
import { spanOf, ticksOf, timelineOf } from './timeline-plan.ts';

const group = (more: Partial<FeedGroup>): FeedGroup => ({
  ...({ kind: 'group', namespace: 'default', name: 'a', uid: 'a', phase: 'Running', message: '' } as const),
  ...{ size: 1, running: 1, succeeded: 0, failed: 0, nodeCount: 1, command: '', restarts: 0, createdMs: 0 },
  ...{ startedMs: 0, runningMs: 0, finishedMs: 0, cpuSeconds: 0, memoryBytes: 0, checkpoint: '' },
  ...{ checkpointMs: 0, past: [] },
  ...more,
});
const act = (more: Partial<FeedAct>): FeedAct => ({
  ...({ kind: 'checkpoint', namespace: 'default', name: 'c', group: 'a', phase: 'Durable' } as const),
  ...{ message: '', createdMs: 0, startedMs: 0, finishedMs: 0, downtimeMs: 0, bytes: 0, from: '', to: '' },
  ...more,
});
const span = { fromMs: 100_000, toMs: 200_000 };

describe('the timeline', () => {
  it('shows phases with how long they lasted, also those that began before', () => {
    const past = [['Pending', 90_000], ['Starting', 109_000], ['Running', 110_000], ['Suspended', 150_000]] as const; // prettier-ignore
    const [row] = timelineOf([group({ past, phase: 'Suspended' })], [], [], span);
    expect(row?.bars.map(({ look, label, from, to }) => ({ look, label, from, to }))).toEqual([
      { look: 'pending', label: 'pending 19 s', from: 0, to: 0.09 },
      { look: 'starting', label: 'starting 1.0 s', from: 0.09, to: 0.1 },
      { look: 'running', label: 'running 40 s', from: 0.1, to: 0.5 },
      { look: 'frozen', label: 'suspended 50 s', from: 0.5, to: 1 },
    ]);
  });
  it('ends with the group, and leaves out who was not there', () => {
    const done = group({ past: [['Running', 110_000], ['Succeeded', 120_000]], phase: 'Succeeded', finishedMs: 120_000 }); // prettier-ignore
    const before = group({ name: 'b', past: [['Running', 1], ['Failed', 99_000]], phase: 'Failed', finishedMs: 99_000 }); // prettier-ignore
    const rows = timelineOf([before, done], [], [], span);
    expect(rows.map((row) => row.group.name)).toEqual(['a']);
    expect(rows[0]?.bars.at(-1)?.to).toBeCloseTo(0.2);
  });
  it('puts checkpoints, migrations and events on the row of their group', () => {
    const acts = [
      act({ startedMs: 120_000, finishedMs: 122_500, downtimeMs: 310 }),
      act({ kind: 'migration', name: 'm', from: 'n1', to: 'n2', startedMs: 190_000, phase: 'Copying' }),
      act({ name: 'other', namespace: 'elsewhere', startedMs: 120_000 }),
      act({ name: 'old', startedMs: 1, finishedMs: 2 }),
    ];
    const event: FeedEvent = {
      ...({ kind: 'event', namespace: 'default', atMs: 150_000, count: 1, warning: true } as const),
      ...{ reason: 'NodeLost', note: 'n1', aboutKind: 'ProcessGroup', about: 'a' },
    };
    const [row] = timelineOf(
      [group({ past: [['Running', 110_000]] })],
      acts,
      [event, { ...event, atMs: 1 }],
      span,
    );
    expect(row?.acts.map(({ title }) => title)).toEqual([
      'checkpoint c: Durable, 2.5 s, ranks stood still for 310 ms',
      'migration m from n1 to n2: Copying, 10 s',
    ]);
    expect(row?.ticks).toEqual([{ at: 0.5, title: 'NodeLost: n1', warning: true }]);
  });
  it('shows no more time than there were jobs in', () => {
    const one = group({ past: [['Pending', 900_000]] });
    expect(spanOf([one], 1_000_000, 300_000)).toEqual({ fromMs: 897_000, toMs: 1_000_000 });
    expect(spanOf([one], 1_000_000, 70_000)).toEqual({ fromMs: 930_000, toMs: 1_000_000 });
    expect(spanOf([], 1_000_000, 300_000)).toEqual({ fromMs: 940_000, toMs: 1_000_000 });
  });
  it('marks round moments', () => {
    expect(ticksOf(span, 0)).toEqual([100_000, 110_000, 120_000, 130_000, 140_000, 150_000, 160_000, 170_000, 180_000, 190_000, 200_000]); // prettier-ignore
    expect(ticksOf({ fromMs: 0, toMs: 86_400_000 }, 0).length).toBeLessThan(12);
  });
});
