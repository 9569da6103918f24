import { describe, expect, it } from 'vitest';
import type { Condition } from '../crds/objects.ts';
import type { NodeMonitor, ProcessGroup } from '../crds/types.gen.ts';
import { isNothing, isRunning, textOfLeft, whatIsLeft, withoutOurs } from './uninstall.ts';

const condition = (type: string, reason = 'X', status: Condition['status'] = 'True'): Condition => ({
  type,
  status,
  reason,
  message: '',
  lastTransitionTime: '2026-01-01T00:00:00Z',
});
const group = (name: string, conditions: Condition[], placed = true): ProcessGroup =>
  ({
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name, namespace: 'default' },
    spec: { size: 1 },
    status: { conditions, ...(placed ? { placement: {} } : {}) },
  }) as unknown as ProcessGroup;
const monitor = (name: string, count: number, ready: boolean): NodeMonitor =>
  ({
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'NodeMonitor',
    metadata: { name },
    status: { sandboxes: { count }, conditions: [condition('Ready', 'X', ready ? 'True' : 'False')] },
  }) as unknown as NodeMonitor;

describe('what stands in the way of uninstalling', () => {
  it.each<[string, ProcessGroup, boolean]>([
    ['a group that runs', group('a', [condition('Running')]), true],
    ['one that is frozen', group('a', [condition('Suspended', 'Frozen')]), true],
    ['one that is placed', group('a', []), true],
    ['one that was never placed', group('a', [], false), false],
    ['one that gave its nodes back', group('a', [condition('Suspended', 'Vacated')]), false],
    ['one that succeeded', group('a', [condition('Succeeded')]), false],
    ['one that failed', group('a', [condition('Failed')]), false],
  ])('%s', (_what, each, running) => {
    expect(isRunning(each)).toBe(running);
  });

  it('is named, with nodes that can say and nodes that cannot', () => {
    const left = whatIsLeft(
      [group('a', [condition('Running')]), group('b', [condition('Succeeded')])],
      [monitor('n1', 2, true), monitor('n2', 0, true), monitor('n3', 1, false)],
    );
    expect(textOfLeft(left)).toBe(
      'groups that run: default/a; nodes with sandboxes: n1 (2); nodes that had sandboxes and whose agents are silent: n3 (1)',
    );
    expect(isNothing(left)).toBe(false);
    expect(isNothing(whatIsLeft([], [monitor('n2', 0, true)]))).toBe(true);
  });

  it('names no more than one can read', () => {
    const many = Array.from({ length: 25 }, (_, i) => group(`g${i}`, [condition('Running')]));
    expect(textOfLeft(whatIsLeft(many, []))).toMatch(/default\/g9 and 15 more$/);
  });

  it('are finalizers of ours, never those of others', () => {
    const object = group('a', []);
    object.metadata.finalizers = ['muster.dev/ranks', 'foregroundDeletion', 'muster.dev.example.com/x'];
    expect(withoutOurs(object)).toEqual(['foregroundDeletion', 'muster.dev.example.com/x']);
    object.metadata.finalizers = ['foregroundDeletion'];
    expect(withoutOurs(object)).toBeUndefined();
  });
});
