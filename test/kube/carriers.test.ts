/**
 * Groups with a template on the real Kubernetes API: their carrier Pods as objects. No node is there, so that no Pod ever runs;
 * what the kubelet would say of one is written into its status.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { podType, type Pod } from '../../controllers/carrier/pod.ts';
import { conditionOf } from '../../crds/conditions.ts';
import { eventually } from '../contract/eventually.ts';
import { KubeCluster } from './cluster.ts';
import { groupOf, MusterOnKube } from './muster.ts';

let cluster: KubeCluster;
let muster: MusterOnKube;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.kubectl('apply', '-f', 'crds');
  muster = await MusterOnKube.start(cluster, { arguments: ['--carrier-image', 'example.com/muster:1'] });
}, 900_000);
afterAll(async () => {
  await muster?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

const carried = (name: string, spec: object = {}, labels: Record<string, string> = {}): string => {
  const group = JSON.parse(groupOf(name, { size: 4 })) as { metadata: object; spec: object };
  const template = {
    metadata: { labels: { 'pod-group.scheduling.sigs.k8s.io': name } },
    spec: { image: 'user:1' },
  };
  return JSON.stringify({
    ...group,
    metadata: { ...group.metadata, labels },
    spec: { ...group.spec, placement: { ranksPerNode: 2 }, template, ...spec },
  });
};
const pods = async (name: string): Promise<readonly Pod[]> =>
  (await muster.store.list<Pod>(podType, { namespace: 'default', labelSelector: `muster.dev/group=${name}` }))
    .items;
const condition = async (name: string, type: 'Placed' | 'Suspended' | 'Stalled') =>
  conditionOf((await muster.group(name)).status?.conditions, type);

describe('carrier Pods on the Kubernetes API', () => {
  it('are made for all sandboxes, and say what they wait for', async () => {
    await muster.apply(carried('a'));
    await eventually(async () => expect(await pods('a')).toHaveLength(2), 20_000);
    await eventually(async () =>
      expect(await condition('a', 'Placed')).toMatchObject({
        status: 'False',
        reason: 'WaitingForCarriers',
        message: '0 of 2 carrier Pods run: a-1-0 is being started; a-1-1 is being started',
      }),
    );
    expect(await cluster.kubectl('get', 'pods', '-l', 'pod-group.scheduling.sigs.k8s.io=a')).toMatch(
      /a-1-0[^]*a-1-1/,
    );
  });

  it('are all let go when one has failed', async () => {
    const before = await pods('a');
    const status = JSON.stringify({ status: { phase: 'Failed', reason: 'Evicted', message: 'low on disk' } });
    await cluster.kubectl('patch', 'pod', 'a-1-1', '--subresource=status', '--type=merge', '-p', status);
    await eventually(async () => {
      const now = await pods('a');
      const uids = new Set(now.map(({ metadata }) => metadata.uid));
      expect(before.filter(({ metadata }) => uids.has(metadata.uid))).toEqual([]);
    }, 20_000);
    await eventually(async () =>
      expect(await cluster.kubectl('events', '--for', 'pg/a')).toContain(
        'carrier Pod a-1-1 Evicted: low on disk',
      ),
    );
  });

  it('go with a suspension, which says Vacated, and come back anew', async () => {
    await cluster.kubectl('patch', 'pg', 'a', '--type=merge', '-p', '{"spec":{"suspend":true}}');
    await eventually(async () => expect(await pods('a')).toEqual([]), 20_000);
    await eventually(async () =>
      expect(await condition('a', 'Suspended')).toMatchObject({ status: 'True', reason: 'Vacated' }),
    );
    await cluster.kubectl('patch', 'pg', 'a', '--type=merge', '-p', '{"spec":{"suspend":false}}');
    await eventually(async () => expect(await pods('a')).toHaveLength(2), 60_000);
  }, 90_000);

  it('go with their group', async () => {
    await cluster.kubectl('delete', 'pg', 'a', '--timeout=30s');
    await eventually(async () => expect(await pods('a')).toEqual([]), 20_000);
  });

  it('are not made for a group of another controller, which is left alone', async () => {
    await muster.apply(carried('theirs', { managedBy: 'kueue.x-k8s.io/multikueue' }));
    await muster.apply(carried('ours', {}, { 'kueue.x-k8s.io/queue-name': 'q' }));
    await eventually(async () => expect(await pods('ours')).toHaveLength(2), 20_000);
    expect(await pods('theirs')).toEqual([]);
    expect((await muster.group('theirs')).status).toEqual({ observedGeneration: -1 });
  });

  it('cannot be kept by a suspended group that Kueue manages', async () => {
    await muster.apply(carried('frozen', { suspendPolicy: 'Freeze' }, { 'kueue.x-k8s.io/queue-name': 'q' }));
    await eventually(async () =>
      expect(await condition('frozen', 'Stalled')).toMatchObject({
        reason: 'InvalidSpec',
        message: expect.stringContaining('use Stop or leave it out') as string,
      }),
    );
    expect(await pods('frozen')).toEqual([]);
  });
});
