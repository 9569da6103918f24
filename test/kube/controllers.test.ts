/**
 * Muster's controllers on the real Kubernetes API: jobs by kubectl, several replicas, their Lease.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { conditionOf } from '../../crds/conditions.ts';
import { eventually } from '../contract/object-store.ts';
import { checkout } from '../e2e/cluster.ts';
import { KubeCluster } from './cluster.ts';
import { groupOf, MusterOnKube } from './muster.ts';

let cluster: KubeCluster;
let muster: MusterOnKube;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.kubectl('apply', '-f', 'crds');
  muster = await MusterOnKube.start(cluster, { controllers: 2, nodes: ['node1', 'node2'] });
}, 900_000);
afterAll(async () => {
  await muster?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

describe('Muster on Kubernetes', () => {
  it('runs the example by kubectl apply', async () => {
    const example = readFileSync('examples/cpi.yaml', 'utf8').replaceAll('/opt/muster', checkout);
    await muster.apply(example);
    await cluster.kubectl('wait', '--for=condition=Succeeded', '--timeout=30s', 'pg/cpi');
    const group = await muster.group('cpi');
    expect(group.status).toMatchObject({ phase: 'Succeeded', ranks: { succeeded: 4 }, nodeCount: 2 });
    expect(await cluster.kubectl('get', 'pg')).toMatch(/cpi +Succeeded/);
  });

  it('tells each step as an event that kubectl shows', async () => {
    await eventually(async () => {
      const told = await cluster.kubectl('describe', 'pg', 'cpi');
      for (const reason of ['Placed', 'Running', 'Succeeded']) expect(told).toContain(reason);
    });
    expect(await cluster.kubectl('events', '--for', 'pg/cpi')).toContain('ProcessGroup/cpi');
  });

  it('names itself as the manager of the status', async () => {
    const managers = await cluster.kubectl(
      ...['get', 'pg', 'cpi', '--show-managed-fields', '-o'],
      'jsonpath={range .metadata.managedFields[*]}{.manager}/{.subresource} {end}',
    );
    expect(managers).toContain('muster/status');
  });

  it('suspends, resumes and deletes what kubectl says', async () => {
    await muster.apply(groupOf('held'));
    await muster.until('held', 'Running');
    await cluster.kubectl('patch', 'pg', 'held', '--type=merge', '-p', '{"spec":{"suspend":true}}');
    await muster.until('held', 'Suspended');
    await cluster.kubectl('patch', 'pg', 'held', '--type=merge', '-p', '{"spec":{"suspend":false}}');
    await eventually(async () => {
      const { status } = await muster.group('held');
      expect(conditionOf(status?.conditions, 'Suspended')?.status).toBe('False');
    });
    await cluster.kubectl('delete', 'pg', 'held', '--timeout=30s');
    await expect(cluster.kubectl('get', 'pg', 'held')).rejects.toThrow(/not found/);
  });

  it('refuses in status what neither schema nor build can carry out', async () => {
    await muster.apply(
      groupOf('odd', { size: 2, spec: { processes: [{ name: 'a', ranks: '0', command: ['x'] }] } }),
    );
    const { status } = await muster.until('odd', 'Stalled');
    expect(conditionOf(status?.conditions, 'Stalled')).toMatchObject({ reason: 'InvalidSpec' });
    await cluster.kubectl('delete', 'pg', 'odd');
  });

  it('changes its leader at once when the leader ends, and harms no rank', async () => {
    await muster.apply(groupOf('kept'));
    const before = await muster.until('kept', 'Running');
    const leader = await muster.leader();
    await muster.stopController(leader, 'SIGTERM');
    const startedAt = performance.now();
    await eventually(async () => expect(await muster.leader()).toBe(1 - leader), 20_000);
    // Given back, not waited out.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await muster.apply(groupOf('after', { command: ['true'] }));
    await muster.until('after', 'Succeeded');
    muster.startController(leader);
    const now = await muster.group('kept');
    expect(now.status?.runningTime).toBe(before.status?.runningTime);
    expect(conditionOf(now.status?.conditions, 'Running')?.status).toBe('True');
  });

  it('gets over a leader that is killed, also while a job is made', async () => {
    for (let round = 0; round < 2; round++) {
      const leader = await muster.leader();
      await muster.apply(groupOf(`killed-${round}`, { size: 2, command: ['true'] }));
      await muster.stopController(leader, 'SIGKILL');
      await muster.until(`killed-${round}`, 'Succeeded', 60_000);
      muster.startController(leader);
    }
    const kept = await muster.group('kept');
    expect(conditionOf(kept.status?.conditions, 'Running')?.status).toBe('True');
    expect(muster.crashed()).toEqual([]);
  });

  it('deletes a group whose agent is away, and ends its ranks when that is back', async () => {
    await muster.apply(groupOf('orphaned', { spec: { placement: { nodes: ['node2'] } } }));
    await muster.until('orphaned', 'Running');
    await muster.stopAgent('node2', 'SIGKILL');
    await cluster.kubectl('delete', 'pg', 'orphaned', '--timeout=120s');
    await muster.startAgent('node2');
    await eventually(async () => {
      const count = await cluster.kubectl('get', 'nm', 'node2', '-o', 'jsonpath={.status.sandboxes.count}');
      expect(Number(count)).toBe(0);
    }, 60_000);
  });

  it('lets a namespace be deleted with the groups in it', async () => {
    await cluster.kubectl('create', 'namespace', 'team');
    await muster.apply(groupOf('inside', { namespace: 'team' }));
    await cluster.kubectl('wait', '--for=condition=Running', '--timeout=30s', 'pg/inside', '-n', 'team');
    await cluster.kubectl('delete', 'namespace', 'team', '--timeout=60s');
    expect(muster.crashed()).toEqual([]);
  });
});
