/**
 * NodeMonitors follow the Nodes of a real API server: labels, cordon, taints, deletion; and what remains of a cordon is said. Agents here
 * are no kubelets: Nodes are made by hand, and nothing but their objects is looked at.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeMonitorType } from '../../controllers/resource-types.ts';
import { conditionOf } from '../../crds/conditions.ts';
import type { NodeMonitor } from '../../crds/types.gen.ts';
import { isStoreError } from '../../store/object-store.ts';
import { eventually } from '../contract/object-store.ts';
import { KubeCluster } from './cluster.ts';
import { groupOf, MusterOnKube } from './muster.ts';

let cluster: KubeCluster;
let muster: MusterOnKube;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.kubectl('apply', '-f', 'crds');
  // One that is there before its agent, one that never is.
  await makeNode('node1', { zone: 'a', role: 'compute' });
  muster = await MusterOnKube.start(cluster, {
    nodes: ['node1', 'node2'],
    arguments: ['--carrier-image', 'muster:test'],
  });
}, 900_000);
afterAll(async () => {
  await muster?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

async function makeNode(name: string, labels: Record<string, string>): Promise<void> {
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } };
  await cluster.kubectlWith({ input: JSON.stringify(node) }, 'apply', '-f', '-');
  // Made by hand it counts as not ready; that is not to matter.
  await eventually(async () => {
    await cluster.kubectl('taint', 'node', name, 'node.kubernetes.io/unreachable:NoExecute', '--overwrite');
  });
}

const monitorOf = (name: string): Promise<NodeMonitor> =>
  muster.store.get<NodeMonitor>(nodeMonitorType, { name });
const untilMonitor = (name: string, holds: (monitor: NodeMonitor) => void): Promise<void> =>
  eventually(async () => holds(await monitorOf(name)), 30_000);

describe('a NodeMonitor on Kubernetes', () => {
  it('has the labels of its Node, old and new, and loses those that it loses', async () => {
    await untilMonitor('node1', ({ metadata }) =>
      expect(metadata.labels).toMatchObject({ zone: 'a', role: 'compute', 'muster.dev/node': 'node1' }),
    );
    await cluster.kubectl('label', 'nm', 'node1', 'own=kept');
    await cluster.kubectl('label', 'node', 'node1', 'zone=b', 'role-', '--overwrite');
    await untilMonitor('node1', ({ metadata }) => {
      expect(metadata.labels).toMatchObject({ zone: 'b', own: 'kept', 'muster.dev/node': 'node1' });
      expect(metadata.labels).not.toHaveProperty('role');
    });
    await muster.apply(groupOf('zoned', { spec: { placement: { nodeSelector: { zone: 'b' } } } }));
    await muster.until('zoned', 'Running');
    expect((await muster.group('zoned')).status?.placement).toMatchObject([{ nodes: 'node1' }]);
    await cluster.kubectl('delete', 'pg', 'zoned');
  });

  it('is cordoned with it, and `muster uncordon` says that this cordon remains', async () => {
    await muster.command('cordon', 'node1');
    await cluster.kubectl('cordon', 'node1');
    await untilMonitor('node1', ({ status }) =>
      expect(conditionOf(status?.conditions, 'Draining')?.message).toContain('cordoned in Kubernetes'),
    );
    const left = await muster
      .command('uncordon', 'node1')
      .catch((error: unknown) => error as Error & { code: number });
    expect(left).toMatchObject({ code: 1 });
    expect(String((left as { stderr?: string }).stderr)).toMatch(
      /^muster: nodemonitor\/node1 is still cordoned: .*is cordoned in Kubernetes \(kubectl uncordon node1\)$/m,
    );
    await muster.apply(groupOf('named', { spec: { placement: { nodes: ['node1'] } } }));
    await eventually(async () => {
      const { status } = await muster.group('named');
      expect(conditionOf(status?.conditions, 'Placed')).toMatchObject({ reason: 'NodeCordoned' });
    });
    await cluster.kubectl('uncordon', 'node1');
    await muster.until('named', 'Running');
    expect((await monitorOf('node1')).status?.cordoned).toBe(false);
  });

  it('keeps carrier Pods away, whose scheduler knows nothing of its own cordon', async () => {
    await muster.command('cordon', 'node2');
    await muster.apply(groupOf('carried', { spec: { template: {} } }));
    await eventually(async () => {
      const pod = await cluster.kubectl('get', 'pod', '-l', 'muster.dev/group=carried', '-o', 'json');
      expect(pod).toMatch(/"key": "metadata.name",\s*"operator": "NotIn",\s*"values": \[\s*"node2"\s*\]/);
    });
    await muster.apply(groupOf('there', { spec: { template: {}, placement: { nodes: ['node2'] } } }));
    await eventually(async () => {
      const { status } = await muster.group('there');
      expect(conditionOf(status?.conditions, 'Placed')).toMatchObject({ reason: 'NodeCordoned' });
    });
    await cluster.kubectl('delete', 'pg', 'carried', 'there');
    await muster.command('uncordon', 'node2');
  });

  it('is drained by a taint with the policy that it names, until the taint goes', async () => {
    await cluster.kubectl('taint', 'node', 'node1', 'muster.dev/drain=Kill:NoSchedule');
    await cluster.kubectl('wait', '--for=condition=Drained', '--timeout=60s', 'nm/node1');
    const { status } = await muster.until('named', 'Failed');
    expect(conditionOf(status?.conditions, 'Failed')).toMatchObject({ reason: 'NodeDrained' });
    await cluster.kubectl('delete', 'pg', 'named');
    await cluster.kubectl('taint', 'node', 'node1', 'muster.dev/drain-');
    await untilMonitor('node1', (monitor) => expect(monitor.status?.phase).toBe('Ready'));
  });

  it('keeps networks of jobs clear of the Pods of all Nodes, and says what has the addresses', async () => {
    const greedy = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'greedy' },
      spec: { podCIDRs: ['100.64.0.0/10'] },
    };
    await cluster.kubectlWith({ input: JSON.stringify(greedy) }, 'apply', '-f', '-');
    const own = { placement: { nodes: ['node1'] }, network: 'Isolated' } as const;
    await muster.apply(groupOf('crossed', { spec: own }));
    await eventually(async () => {
      const { status } = await muster.group('crossed');
      expect(conditionOf(status?.conditions, 'Placed')).toMatchObject({
        reason: 'NoNetworkFree',
        message: expect.stringContaining('cross 100.64.0.0/10 (Pods of greedy)') as string,
      });
    });
    await cluster.kubectl('delete', 'node', 'greedy');
    await cluster.kubectl('annotate', 'pg', 'crossed', 'look=again');
    await muster.until('crossed', 'Running');
    await cluster.kubectl('delete', 'pg', 'crossed');
  });

  it('goes when its Node was deleted, once nothing can be there any more', async () => {
    await muster.apply(groupOf('last', { spec: { placement: { nodes: ['node1'] } } }));
    await muster.until('last', 'Running');
    await cluster.kubectl('delete', 'node', 'node1');
    await untilMonitor('node1', ({ status }) =>
      expect(conditionOf(status?.conditions, 'Draining')?.message).toContain(
        'no Node of the Kubernetes cluster any more',
      ),
    );
    // Its group is there, and so is its agent.
    await cluster.kubectl('delete', 'pg', 'last', '--timeout=60s');
    expect((await monitorOf('node1')).status?.phase).toBe('Cordoned');
    await muster.stopAgent('node1');
    await eventually(async () => {
      const gone = await monitorOf('node1').then(
        () => false,
        (error: unknown) => isStoreError(error, 'NotFound'),
      );
      expect(gone).toBe(true);
    }, 60_000);
  });

  it('that never had a Node stays', async () => {
    expect((await monitorOf('node2')).metadata.annotations ?? {}).not.toHaveProperty(
      'muster.dev/kubernetes-node',
    );
    expect((await monitorOf('node2')).status?.cordoned).toBe(false);
    expect(muster.crashed()).toEqual([]);
  });
});
