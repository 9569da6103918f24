import { describe, expect, it } from 'vitest';
import type { ProcessGroup, ProcessGroupPlacement } from '../../crds/types.gen.ts';
import { carrierLossOf, gangOf, type GangSeen } from './gang.ts';
import { carrierNameOf, carrierPodOf, scratchOf, type Pod } from './pod.ts';
import { restoredSharesOf, sharesOf } from './split.ts';
import { carrierRefOf, carrierViewOf, type CarrierView } from './view.ts';

describe('ranks are dealt out to carriers', () => {
  it.each<[string, number, ProcessGroupPlacement, string[]]>([
    ['all in one', 4, {}, ['0-3']],
    ['by ranksPerNode', 5, { ranksPerNode: 2 }, ['0-1', '2-3', '4']],
    ['by ranksPerSandbox', 4, { ranksPerSandbox: 2, ranksPerNode: 4 }, ['0-1', '2-3']],
    ['in turns', 4, { ranksPerNode: 2, policy: 'Cyclic' }, ['0,2', '1,3']],
    ['evenly to named nodes', 5, { nodes: ['a', 'b'] }, ['0-2@a', '3-4@b']],
    ['by shares of named nodes', 6, { nodes: ['a', 'b', 'a'] }, ['0-1,4-5@a', '2-3@b']],
    ['several on a named node', 4, { nodes: ['a'], ranksPerSandbox: 2 }, ['0-1@a', '2-3@a']],
    ['nowhere when named nodes may not take them', 4, { nodes: ['a'], ranksPerNode: 2 }, []],
  ])('%s', (_what, size, placement, expected) => {
    const shares = sharesOf(size, placement);
    expect(shares.map(({ ranks, node }) => (node === undefined ? ranks : `${ranks}@${node}`))).toEqual(
      expected,
    );
    expect(shares.map(({ ordinal }) => ordinal)).toEqual(expected.map((_, i) => i));
  });
});

describe('ranks that are brought back', () => {
  const sandboxes = [
    { ordinal: 0, ranks: '0-1', rankCount: 2, node: 'n1' },
    { ordinal: 1, ranks: '2-3', rankCount: 2, node: 'gone' },
  ];
  const sources = {
    offers: ['n1', 'n2', 'n3'],
    trouble: (node: string, ordinal: number) => (node === 'n3' && ordinal === 1 ? 'was tried' : undefined),
    imageOn: (ordinal: number) => (ordinal === 1 ? ['n3', 'n2'] : ['n1']),
  };

  it('stay together as they were, near their images, away from nodes that could not bring them back', () => {
    expect(restoredSharesOf(sandboxes, {}, sources)).toEqual([
      { ordinal: 0, ranks: '0-1', rankCount: 2, avoided: [], preferred: ['n1'] },
      { ordinal: 1, ranks: '2-3', rankCount: 2, avoided: ['n3'], preferred: ['n2'] },
    ]);
  });

  it('go to the nodes that are named now', () => {
    const shares = restoredSharesOf(sandboxes, { nodes: ['n2', 'n1'] }, sources);
    expect(shares.map(({ node }) => node)).toEqual(['n2', 'n1']);
  });

  it('are told where volumes are that go with their Pod', () => {
    const spec = {
      volumes: [
        { name: 'own', emptyDir: {} },
        { name: 'claim', persistentVolumeClaim: { claimName: 'c' } },
      ],
      volumeMounts: [
        { name: 'own', mountPath: '/scratch/' },
        { name: 'own', mountPath: '/look', readOnly: true },
        { name: 'claim', mountPath: '/data' },
      ],
    };
    expect(scratchOf({ template: { spec } })).toEqual(['/scratch']);
    expect(scratchOf({})).toEqual([]);
  });
});

const nowMs = 1_000_000;
const view = (ordinal: number, more: Partial<CarrierView> = {}): CarrierView => ({
  name: `g-1-${ordinal}`,
  namespace: 'default',
  uid: `pod${ordinal}`,
  ordinal,
  incarnation: 1,
  state: 'Running',
  node: `n${ordinal}`,
  address: '10.0.0.1',
  createdMs: nowMs - 10_000,
  avoids: [],
  profile: '',
  migrationUid: '',
  why: '',
  ...more,
});
const shares = sharesOf(4, { ranksPerNode: 2 });
const gang = (more: Partial<GangSeen>) =>
  gangOf(
    { shares, incarnation: 1, views: [], nowMs, released: undefined, nodeTrouble: () => undefined, ...more },
    { timeoutMs: 60_000, againAfterMs: 5_000 },
  );
const names = (views: readonly CarrierView[]): string[] => views.map(({ name }) => name);

describe('all carriers or none', () => {
  it('are all made at once', () => {
    const { make, placing } = gang({});
    expect(make.map(({ ordinal }) => ordinal)).toEqual([0, 1]);
    expect(placing).toMatchObject({ kind: 'waiting', reason: 'WaitingForCarriers' });
  });

  it('carry the ranks where they were scheduled to', () => {
    const { make, release, placing } = gang({ views: [view(1), view(0)] });
    expect([make, release]).toEqual([[], []]);
    expect(placing).toEqual({
      kind: 'placed',
      sandboxes: [
        { ordinal: 0, ranks: '0-1', rankCount: 2, node: 'n0' },
        { ordinal: 1, ranks: '2-3', rankCount: 2, node: 'n1' },
      ],
    });
  });

  it('wait for the last, saying which and why', () => {
    const { placing, againAfterMs } = gang({
      views: [view(0), view(1, { state: 'Pending', node: undefined, why: 'Unschedulable: no cpu' })],
    });
    expect(placing).toMatchObject({ message: '1 of 2 carrier Pods run: g-1-1 Unschedulable: no cpu' });
    expect(againAfterMs).toBe(50_000);
  });

  it('wait for the agent of their node', () => {
    const nodeTrouble = (node: string) => (node === 'n1' ? 'has no agent' : undefined);
    expect(gang({ views: [view(0), view(1)], nodeTrouble }).placing).toMatchObject({
      message: '2 of 2 carrier Pods run: g-1-1 is on node n1, which has no agent',
    });
  });

  it('are all let go when the last does not come, and made again later', () => {
    const views = [view(0, { createdMs: nowMs - 60_000 }), view(1, { state: 'Pending' })];
    const late = gang({ views });
    expect(names(late.release)).toEqual(['g-1-0', 'g-1-1']);
    expect(late.placing).toMatchObject({ reason: 'CarriersTimedOut' });
    const released = { sinceMs: nowMs - 1_000, why: late.why! };
    expect(gang({ released })).toMatchObject({ make: [], againAfterMs: 4_000 });
    expect(gang({ released: { ...released, sinceMs: nowMs - 5_000 } }).make).toHaveLength(2);
  });

  it.each(['Ended', 'Leaving'] as const)('are all let go when one is %s before the ranks began', (state) => {
    const { release, make, why } = gang({ views: [view(0), view(1, { state, why: 'was deleted' })] });
    expect(names(release)).toContain('g-1-0');
    expect(make).toEqual([]);
    expect(why).toBe('carrier Pod g-1-1 was deleted');
  });

  it('are made anew where they wait, kept from a node that may be used again', () => {
    const waiting = view(1, { state: 'Pending', node: undefined, avoids: ['n8', 'n9'] });
    const views = [view(0, { avoids: ['n9'] }), waiting];
    expect(names(gang({ views, avoided: ['n8'] }).release)).toEqual(['g-1-1']);
    const kept = gang({
      views,
      avoided: ['n8'],
      shares: shares.map((each) => ({ ...each, avoided: ['n9'] })),
    });
    expect(kept.release).toEqual([]);
  });

  it('let those of an earlier incarnation go, and do not take them for their own', () => {
    const old = view(0, { incarnation: 0, name: 'g-0-0' });
    const { release, make } = gang({ views: [old] });
    expect(names(release)).toEqual(['g-0-0']);
    expect(make).toHaveLength(2);
  });

  it('are lost by deletion, by an end, by having vanished', () => {
    expect(carrierLossOf(0, 1, [view(0)])).toEqual({});
    expect(carrierLossOf(0, 2, [view(0)])).toEqual({ carrierLoss: 'its carrier Pod is gone' });
    expect(carrierLossOf(0, 1, [view(0, { state: 'Ended', why: 'Evicted: disk' })])).toEqual({
      carrierLoss: 'carrier Pod g-1-0 Evicted: disk',
      carrierLeaves: false,
    });
    expect(carrierLossOf(0, 1, [view(0, { state: 'Leaving', why: 'was deleted' })])).toEqual({
      carrierLoss: 'carrier Pod g-1-0 was deleted',
      carrierLeaves: true,
    });
  });
});

describe('a Pod is told of in our words', () => {
  const pod = (status: object, metadata: object = {}): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default', uid: 'u', ...metadata },
    spec: { nodeName: 'n1' },
    status,
  });
  const container = (state: object): object => ({ containerStatuses: [{ name: 'ranks', state }] });
  it.each<[string, Pod, CarrierView['state'], string]>([
    ['new', pod({}), 'Pending', 'is being started'],
    [
      'unschedulable',
      pod({
        phase: 'Pending',
        conditions: [
          { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes' },
        ],
      }),
      'Pending',
      'Unschedulable: 0/3 nodes',
    ],
    [
      'without its image',
      pod({ phase: 'Pending', ...container({ waiting: { reason: 'ImagePullBackOff', message: 'no x' } }) }),
      'Pending',
      'ImagePullBackOff: no x',
    ],
    ['running', pod({ phase: 'Running', ...container({ running: {} }) }), 'Running', ''],
    [
      'deleted',
      pod({ phase: 'Running', ...container({ running: {} }) }, { deletionTimestamp: '2026-01-01T00:00:00Z' }),
      'Leaving',
      'was deleted',
    ],
    ['evicted', pod({ phase: 'Failed', reason: 'Evicted', message: 'disk' }), 'Ended', 'Evicted: disk'],
    [
      'killed for memory',
      pod({ phase: 'Running', ...container({ terminated: { reason: 'OOMKilled', exitCode: 137 } }) }),
      'Ended',
      'OOMKilled',
    ],
  ])('%s', (_what, object, state, why) => {
    expect(carrierViewOf(object)).toMatchObject({ state, why });
  });
});

describe('the Pod', () => {
  const group = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name: 'cfd', namespace: 'physics', uid: 'abc' },
    spec: {
      size: 4,
      gracePeriodSeconds: 30,
      resources: { requests: { cpu: '500m', memory: '1Gi' }, limits: { 'example.com/gpu': 1 } },
      placement: { ranksPerNode: 2, nodeSelector: { disk: 'ssd' } },
      template: {
        metadata: { labels: { 'scheduling.x-k8s.io/pod-group': 'cfd', 'muster.dev/group-uid': 'forged' } },
        spec: { image: 'user/cfd:1', schedulerName: 'volcano', nodeSelector: { zone: 'a' } },
      },
    },
  } as unknown as ProcessGroup;
  const made = carrierPodOf(group, { ...shares[1]!, node: 'n7' }, 3, { image: 'muster:1' });

  it('is under a profile of the nodes where that is asked for, and says so of its ranks', () => {
    const profile = { type: 'Localhost' as const, localhostProfile: 'team/strict.json' };
    const template = { spec: { securityContext: { seccompProfile: profile } } };
    const pod = carrierPodOf({ ...group, spec: { ...group.spec, template } }, shares[1]!, 3, { image: 'x' });
    expect(pod.spec).toMatchObject({ securityContext: { seccompProfile: profile } });
    expect(carrierRefOf([carrierViewOf(pod)], 1, 3)).toMatchObject({ profile: 'team/strict.json' });
    expect(carrierViewOf(made).profile).toBe('');
    // What somebody else has made of its container goes before that.
    const containers = pod.spec!.containers!.map((each) => ({
      ...each,
      securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
    }));
    expect(carrierViewOf({ ...pod, spec: { ...pod.spec, containers } }).profile).toBe('');
  });

  it('says which nodes it was kept from', () => {
    const share = { ...shares[1]!, avoided: ['n8'] };
    expect(carrierViewOf(carrierPodOf(group, share, 3, { image: 'x' }, ['n9'])).avoids).toEqual(['n8', 'n9']);
    expect(carrierViewOf(made).avoids).toEqual([]);
  });

  it('is the group’s own, and carries the labels of gang schedulers but no forged ones of ours', () => {
    expect(made.metadata).toMatchObject({
      name: 'cfd-3-1',
      namespace: 'physics',
      labels: {
        'scheduling.x-k8s.io/pod-group': 'cfd',
        'muster.dev/group-uid': 'abc',
        'muster.dev/ordinal': '1',
        'muster.dev/incarnation': '3',
      },
      ownerReferences: [{ kind: 'ProcessGroup', name: 'cfd', uid: 'abc', controller: true }],
    });
  });

  it('keeps the scheduler from nodes that only Muster knows to be cordoned', () => {
    const fieldsOf = (node?: string): unknown => {
      const { node: _node, ...share } = shares[1]!;
      const pod = carrierPodOf(group, { ...share, ...(node ? { node } : {}) }, 3, { image: 'x' }, [
        'n8',
        'n9',
      ]);
      const { affinity } = pod.spec as unknown as { affinity: { nodeAffinity: Record<string, object> } };
      return affinity.nodeAffinity['requiredDuringSchedulingIgnoredDuringExecution'];
    };
    const apart = ['n8', 'n9'].map((name) => ({ key: 'metadata.name', operator: 'NotIn', values: [name] }));
    expect(fieldsOf()).toEqual({ nodeSelectorTerms: [{ matchFields: apart }] });
    const own = { key: 'metadata.name', operator: 'In', values: ['n7'] };
    expect(fieldsOf('n7')).toEqual({ nodeSelectorTerms: [{ matchFields: [own, ...apart] }] });
  });

  it('is best where the image of its ranks is, and nowhere where that is of no use', () => {
    const share = { ...shares[1]!, avoided: ['n8'], preferred: ['n1', 'n2'] };
    const { affinity } = carrierPodOf(group, share, 3, { image: 'x' }).spec as unknown as {
      affinity: { nodeAffinity: unknown };
    };
    const named = (operator: string, name: string): object => ({
      matchFields: [{ key: 'metadata.name', operator, values: [name] }],
    });
    expect(affinity.nodeAffinity).toEqual({
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [named('NotIn', 'n8')] },
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 100, preference: named('In', 'n1') },
        { weight: 50, preference: named('In', 'n2') },
      ],
    });
  });

  it('asks for what its ranks need together, on a node that will do, by the scheduler', () => {
    expect(made.spec).toMatchObject({
      schedulerName: 'volcano',
      nodeSelector: { zone: 'a', disk: 'ssd' },
      affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: {} } },
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 50,
      containers: [
        {
          image: 'user/cfd:1',
          resources: {
            requests: { cpu: '1000m', memory: String(2 ** 31 + 2 ** 24) },
            limits: { 'example.com/gpu': '2' },
          },
          securityContext: { allowPrivilegeEscalation: false },
        },
      ],
    });
    expect(made.spec).not.toHaveProperty('nodeName');
  });

  it('has a name that is a host name, whatever that of the group is', () => {
    const long = carrierNameOf('a'.repeat(63), 12, 4095);
    expect(long.length).toBeLessThanOrEqual(63);
    expect(long).toMatch(/-12-4095$/);
    expect(carrierNameOf('a'.repeat(62), 12, 4095)).not.toBe(long);
  });
});
