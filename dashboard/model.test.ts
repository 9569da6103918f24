import { describe, expect, it } from 'vitest';
import type { FeedGroup, FeedItem, FeedNode } from '../wire/page-feed.ts';
import { launchMs, matches, modelOf } from './model.ts';
import { UsageHistory } from './usage-history.ts';

const group = (name: string, more: Partial<FeedGroup> = {}): FeedGroup => ({
  ...({ kind: 'group', namespace: 'default', uid: name, phase: 'Running', message: '' } as const),
  ...{ size: 1, running: 1, succeeded: 0, failed: 0, nodeCount: 1, command: 'ring 5', restarts: 0 },
  ...{ createdMs: 0, startedMs: 0, runningMs: 0, finishedMs: 0, cpuSeconds: 0, memoryBytes: 0 },
  ...{ checkpoint: '', checkpointMs: 0, past: [], name },
  ...more,
});
const node = (name: string): FeedNode => ({
  ...({ kind: 'node', phase: 'Ready', problem: '', cpus: 1, load1: 0, memoryBytes: 0 } as const),
  ...({ memoryAvailableBytes: 0, pressure: [0, 0, 0] } as const),
  name,
});
const itemsOf = (items: readonly (FeedNode | FeedGroup)[]): Map<string, FeedItem> =>
  new Map(items.map((item) => [`${item.kind}/${item.name}`, item]));

describe('the model of the page', () => {
  it('has nodes as people count, and jobs that have not ended first', () => {
    const model = modelOf(
      itemsOf([
        ...['node10', 'node2', 'node1'].map(node),
        group('old', { phase: 'Failed', createdMs: 9 }),
        group('older', { createdMs: 1 }),
        group('newer', { createdMs: 2 }),
      ]),
    );
    expect(model.nodes.map(({ name }) => name)).toEqual(['node1', 'node2', 'node10']);
    expect(model.groups.map(({ name }) => name)).toEqual(['newer', 'older', 'old']);
  });
  it('finds a job by every word', () => {
    expect(matches(group('heat'), 'RUN ring')).toBe(true);
    expect(matches(group('heat'), 'run pong')).toBe(false);
  });
  it('knows how long a launch took', () => {
    expect(launchMs(group('a', { past: [['Pending', 10], ['Starting', 20], ['Running', 350]] }))).toBe(340); // prettier-ignore
    expect(launchMs(group('a'))).toBeUndefined();
  });
  it('keeps an hour of use, of no more than so many jobs, however long the page is open', () => {
    const history = new UsageHistory();
    const hours = 24;
    for (let second = 0; second < hours * 3600; second++) {
      history.add('long', { atMs: second * 1000, cores: second, memoryBytes: 0 });
      if (second % 60 === 0) history.add(`short${second}`, { atMs: second * 1000, cores: 1, memoryBytes: 0 });
    }
    expect(history.of('long')).toHaveLength(720);
    expect(history.of('long').at(-1)?.cores).toBe(hours * 3600 - 5);
    expect(history.groups).toBeLessThanOrEqual(400);
    expect(history.of('short0')).toEqual([]);
  });
});
