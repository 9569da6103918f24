import { describe, expect, test } from 'vitest';
import { apiVersion } from '../../crds/objects.ts';
import type { Checkpoint } from '../../crds/types.gen.ts';
import { earlierOf } from './observe.ts';

function asked(name: string, more: { group?: string; startTime?: string; ended?: boolean } = {}): Checkpoint {
  const { group = 'job', startTime, ended = false } = more;
  return {
    apiVersion,
    kind: 'Checkpoint',
    metadata: { namespace: 'default', name, uid: `uid-${name}`, creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { processGroupName: group },
    status: {
      ...(startTime === undefined ? {} : { startTime }),
      ...(ended ? { step: 'Failed' as const } : {}),
    },
  };
}

const seenAs = (...checkpoints: Checkpoint[]) =>
  new Map(checkpoints.map((each) => [`default/${each.metadata.name}`, each]));

describe('which Checkpoint of a group is waited for', () => {
  const [a, b] = [asked('a'), asked('b')];

  test('the one asked for earlier, and nobody else waits', () => {
    const checkpoints = seenAs(a, b, asked('0', { group: 'other' }));
    expect([a, b].map((each) => earlierOf(each, { checkpoints }))).toEqual([undefined, 'a']);
  });

  test('the one that has begun, though nothing shows it yet and another was asked for earlier', () => {
    const ports = { checkpoints: seenAs(a, b), begun: new Map([['default/job', 'default/b']]) };
    expect([a, b].map((each) => earlierOf(each, ports))).toEqual(['b', undefined]);
  });

  test('by nobody once it has ended', () => {
    const over = asked('b', { startTime: '2026-01-01T00:00:01Z', ended: true });
    const ports = { checkpoints: seenAs(a, over), begun: new Map([['default/job', 'default/b']]) };
    expect(earlierOf(a, ports)).toBeUndefined();
  });
});
