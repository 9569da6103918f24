import { describe, expect, it } from 'vitest';
import type { Condition } from '../../crds/objects.ts';
import type { NodeMonitor, NodeMonitorSpec, NodeMonitorStatus } from '../../crds/types.gen.ts';
import { cordonText, treatmentOf, type KubeNode } from './treatment.ts';

const monitorOf = (spec: NodeMonitorSpec = {}, status?: NodeMonitorStatus): NodeMonitor => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'NodeMonitor',
  metadata: { name: 'node1' },
  spec,
  ...(status ? { status } : {}),
});
const nodeOf = (spec: KubeNode['spec']): KubeNode => ({
  metadata: { name: 'node1' },
  ...(spec ? { spec } : {}),
});
const by = (monitor: NodeMonitor, node?: KubeNode | 'Deleted') => {
  const { cordons, drain } = treatmentOf(monitor, node);
  return { cordons: cordons.map((cause) => cause.by), drain: drain?.policy };
};
const reclaimed = (status: Condition['status']): NodeMonitorStatus => ({
  conditions: [
    {
      type: 'Reclaimed',
      status,
      reason: 'OwnerActive',
      message: '',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    },
  ],
});

describe('how a node is treated', () => {
  it('is as any other while nobody asks', () => {
    expect(by(monitorOf())).toEqual({ cordons: [], drain: undefined });
    expect(treatmentOf(undefined)).toEqual({ cordons: [], drain: undefined });
    expect(by(monitorOf({ drain: { enabled: false, policy: 'Kill' } }), nodeOf({}))).toEqual({
      cordons: [],
      drain: undefined,
    });
  });

  it('follows its spec, a drain being a cordon too', () => {
    expect(by(monitorOf({ cordon: true }))).toEqual({ cordons: ['Cordon'], drain: undefined });
    expect(by(monitorOf({ drain: { enabled: true } }))).toEqual({ cordons: ['Drain'], drain: 'Migrate' });
    expect(by(monitorOf({ cordon: true, drain: { enabled: true, policy: 'Suspend' } }))).toEqual({
      cordons: ['Drain', 'Cordon'],
      drain: 'Suspend',
    });
  });

  it('keeps the cordon of the Kubernetes Node, and says how that is taken back', () => {
    const node = nodeOf({ unschedulable: true });
    expect(by(monitorOf({ cordon: true }), node).cordons).toEqual(['Cordon', 'KubernetesNode']);
    const left = treatmentOf(monitorOf(), node);
    expect(cordonText(left)).toBe('is cordoned in Kubernetes (kubectl uncordon node1)');
    expect(by(monitorOf(), 'Deleted')).toEqual({ cordons: ['KubernetesNode'], drain: undefined });
  });

  it.each([
    ['muster.dev/drain', 'Checkpoint', 'NoSchedule', 'Checkpoint'],
    ['muster.dev/drain', 'whatever', 'NoSchedule', 'Suspend'],
    ['muster.dev/drain', undefined, 'PreferNoSchedule', 'Suspend'],
    ['example.com/maintenance', 'Kill', 'NoExecute', 'Suspend'],
    ['example.com/gpu', 'yes', 'NoSchedule', undefined],
    ['node.kubernetes.io/unreachable', undefined, 'NoExecute', undefined],
    ['node.kubernetes.io/not-ready', undefined, 'NoExecute', undefined],
    ['node.kubernetes.io/out-of-service', 'nodeshutdown', 'NoExecute', undefined],
  ] as const)('takes the taint %s=%s:%s as a drain by %s', (key, value, effect, drain) => {
    const taint = { key, effect, ...(value === undefined ? {} : { value }) };
    expect(by(monitorOf({ drain: { policy: 'Suspend' } }), nodeOf({ taints: [taint] })).drain).toBe(drain);
  });

  it.each([
    ['Report', undefined, []],
    ['Cordon', undefined, ['HealthCheck']],
    ['Drain', 'Checkpoint', ['HealthCheck']],
  ] as const)('has a failed health check %s, until it passes', (action, drain, cordons) => {
    const spec: NodeMonitorSpec = {
      drain: { policy: 'Checkpoint' },
      healthChecks: [{ name: 'disk', action }],
    };
    // Good runs after which its agent does not trust it yet are none.
    for (const failures of [3, 1]) {
      const failing = monitorOf(spec, {
        checks: [{ name: 'disk', passed: false, failures, message: 'full' }],
      });
      expect(by(failing)).toEqual({ cordons, drain });
    }
    const doubtful = monitorOf(spec, { checks: [{ name: 'disk', passed: true, failures: 2 }] });
    expect(by(doubtful)).toEqual({ cordons: [], drain: undefined });
    const other = monitorOf(spec, { checks: [{ name: 'clock', passed: false, failures: 3 }] });
    expect(by(other)).toEqual({ cordons: [], drain: undefined });
    expect(by(monitorOf(spec))).toEqual({ cordons: [], drain: undefined });
  });

  it('gives way to the owner, and is free again when he has gone', () => {
    const spec: NodeMonitorSpec = { ownerReclaim: { idleSeconds: 60 } };
    expect(by(monitorOf(spec, reclaimed('True')))).toEqual({ cordons: ['Owner'], drain: 'Suspend' });
    expect(by(monitorOf(spec, reclaimed('False')))).toEqual({ cordons: [], drain: undefined });
    // A rule that was removed asks for nothing, whatever the condition says.
    expect(by(monitorOf({}, reclaimed('True')))).toEqual({ cordons: [], drain: undefined });
  });

  it('goes by the word of its administrator first', () => {
    const spec: NodeMonitorSpec = {
      ownerReclaim: { policy: 'Kill', maxLoad: 1 },
      drain: { enabled: true, policy: 'Migrate' },
    };
    expect(by(monitorOf(spec, reclaimed('True')))).toEqual({ cordons: ['Drain', 'Owner'], drain: 'Migrate' });
  });
});
