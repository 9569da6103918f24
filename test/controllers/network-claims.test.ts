/**
 * Who has which job network, on a real store: two control planes that both believe they lead never give one to two groups.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ClientLeaseBook } from '../../controllers/client-lease.ts';
import { DesiredBook } from '../../controllers/hub/desired-book.ts';
import { FactTable } from '../../controllers/hub/fact-table.ts';
import type { Hub } from '../../controllers/hub/hub.ts';
import { LeaseBook } from '../../controllers/hub/lease-book.ts';
import { NetworkClaims } from '../../controllers/network/claims.ts';
import {
  ClusterRanges,
  rangeFrom,
  serviceRangeType,
  serviceType,
} from '../../controllers/network/cluster-ranges.ts';
import { networkPoolOf, type NetworkClaim, type Reserved } from '../../controllers/network/pool.ts';
import { ProcessGroupReconciler } from '../../controllers/process-group/reconcile.ts';
import { processGroupType } from '../../controllers/resource-types.ts';
import { systemClock } from '../../controllers/runtime/clock.ts';
import { EventRecorder } from '../../controllers/runtime/event-recorder.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { FileStore } from '../../store/file/file-store.ts';
import { builtinTypes } from '../../store/resource.ts';

const { signal } = new AbortController();
const pool = networkPoolOf('cluster', '10.9.0.0/24');
let directory: string;
let store: FileStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-claims-'));
  store = await FileStore.open({
    directory,
    types: [builtinTypes.lease, builtinTypes.event, processGroupType, serviceType, serviceRangeType],
  });
});
afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true });
});

const logger = pino({ enabled: false });
const plane = (reserved: () => Promise<readonly Reserved[]> = () => Promise.resolve([])): NetworkClaims =>
  new NetworkClaims({ store, pool, namespace: 'default', logger, begin: () => 0, reserved });
const group = (uid: string, network?: { subnet: string; vni: number }): ProcessGroup => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name: uid, uid },
  spec: { size: 1 },
  ...(network && { status: { network } }),
});
const taken = async (claims: NetworkClaims, uid: string): Promise<NetworkClaim> => {
  const claim = await claims.take(group(uid), 2, [], signal);
  if (typeof claim === 'string') throw new Error(claim);
  return claim;
};
const leases = async (): Promise<number> =>
  (await store.list(builtinTypes.lease, { namespace: 'default' })).items.length;

it('gives a network to one of two groups whose control planes choose the same', async () => {
  const [one, other] = [plane(), plane()];
  const wanted = await Promise.all([taken(one, 'a'), taken(other, 'b')]);
  expect(wanted[0].number).toBe(wanted[1].number);
  const held = await Promise.all([one.held('a'), other.held('b')]);
  expect(held.toSorted()).toEqual([false, true]);
  const [loser, uid] = held[0] ? [other, 'b'] : [one, 'a'];
  const second = await taken(loser, uid);
  expect(second.number).not.toBe(wanted[0].number);
  expect(await loser.held(uid)).toBe(true);
  expect(await leases()).toBe(2);
});

it('gives a group the same network again, also after another control plane has come', async () => {
  const first = await taken(plane(), 'a');
  const later = plane();
  expect((await taken(later, 'a')).number).toBe(first.number);
  // One that was told of it before it was on record.
  const told = await taken(later, 'b');
  const restarted = plane();
  await restarted.retake(group('b', told), signal);
  expect(await restarted.held('b')).toBe(true);
  expect((await taken(restarted, 'b')).subnet).toBe(told.subnet);
});

it('lets a group that starts again keep its network, unless that is too small or crosses something now', async () => {
  const wide = networkPoolOf('cluster', '10.8.0.0/16');
  const claims = new NetworkClaims({ store, pool: wide, namespace: 'default', logger, begin: () => 0 });
  const again = async (sandboxes: number, routes: readonly Reserved[] = []): Promise<string> => {
    const claim = await claims.take(group('a'), sandboxes, routes, signal);
    return typeof claim === 'string' ? claim : claim.subnet;
  };
  const first = await again(2);
  expect(await again(13)).toBe(first);
  const larger = await again(14);
  expect(larger).toMatch(/\/24$/);
  const apart = await again(2, [{ range: larger, of: 'a route of node2' }]);
  expect(apart).not.toBe(larger);
  expect(await claims.held('a')).toBe(true);
  expect(await leases()).toBe(1);
});

it('takes networks back when groups are gone, and says so when there is none', async () => {
  const claims = plane();
  const all: string[] = [];
  for (;;) {
    const uid = `g${all.length}`;
    if (typeof (await claims.take(group(uid), 2, [], signal)) === 'string') break;
    expect(await claims.held(uid)).toBe(true);
    all.push(uid);
  }
  expect(all).toHaveLength(4);
  expect(await claims.take(group('late'), 2, [], signal)).toMatch(
    /all job networks for 2 sandboxes are taken/,
  );
  await claims.keepOnly((uid) => uid === 'g1', signal);
  expect(await leases()).toBe(1);
  expect(typeof (await claims.take(group('late'), 2, [], signal))).toBe('object');
});

describe('on a cluster with addresses of its own', () => {
  let pods: Reserved[] = [];
  const ranges = (given: string[] = []): ClusterRanges =>
    new ClusterRanges({ clock: systemClock, logger, given, cluster: { store, podRanges: () => pods } });
  const service = (clusterIP: string) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'default', name: 'kubernetes' },
    spec: { clusterIP, clusterIPs: [clusterIP, 'fd00::1'] },
  });
  const serviceRange = (...cidrs: string[]) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata: { name: 'kubernetes' },
    spec: { cidrs },
  });

  it('keeps clear of Services and Pods, and names them when nothing else is left', async () => {
    await store.create(serviceRangeType, serviceRange('10.9.0.0/27', 'fd00::/112'), signal);
    pods = [
      { range: '10.9.0.32/28', of: 'Pods of node1' },
      { range: 'fd01::/64', of: 'Pods of node1' },
    ];
    const claims = plane(() => ranges().all(signal));
    expect((await taken(claims, 'a')).subnet).toBe('10.9.0.48/28');
    const none = await claims.take(
      group('b'),
      2,
      [{ range: '10.9.0.48/28', of: 'a route of node2' }],
      signal,
    );
    expect(none).toBe(
      'all job networks for 2 sandboxes are taken, or cross 10.9.0.0/27 (Services), 10.9.0.32/28 (Pods of node1), 10.9.0.48/28 (a route of node2): wait for groups to end, give the control plane a --network-pool apart from these, or use network Host',
    );
  });

  it('takes the longest range that its own Service can be the first of, where it tells of none', async () => {
    pods = [];
    expect(await ranges(['10.7.0.0/16']).all(signal)).toEqual([{ range: '10.7.0.0/16', of: 'reserved' }]);
    await store.create(serviceType, service('10.96.0.1'), signal);
    expect(await ranges().all(signal)).toEqual([{ range: '10.96.0.0/12', of: 'Services, at most' }]);
    expect(['10.43.0.1', '10.9.0.33', '10.152.183.1'].map(rangeFrom)).toEqual([
      '10.43.0.0/16',
      '10.9.0.32/27',
      '10.152.183.0/24',
    ]);
  });

  it('uses a larger network where all of the right size cross something', async () => {
    const wide = networkPoolOf('cluster', '10.8.0.0/16');
    const first = { range: '10.8.0.0/18', of: 'Pods' };
    const claims = new NetworkClaims({
      ...{ store, pool: wide, namespace: 'default', logger, begin: () => 0 },
      reserved: () => Promise.resolve([first]),
    });
    expect((await taken(claims, 'a')).subnet).toMatch(/^10\.8\.\d+\.0\/24$/);
  });
});

it('gives back what was taken for a group that turned out to be gone', async () => {
  const claims = plane();
  const clock = systemClock;
  const desired = new DesiredBook(1, () => undefined);
  const reconciler = new ProcessGroupReconciler({
    ...{ store, clock, logger, networks: claims, clusterId: 'cluster', offers: () => [] },
    hub: {
      desired,
      facts: new FactTable(),
      leases: new LeaseBook(clock, desired, () => true),
    } as unknown as Hub,
    leases: new ClientLeaseBook(clock),
    events: new EventRecorder(store, clock, logger),
    secrets: { get: () => Promise.resolve(undefined) },
  });
  // Of another controller: nothing else is done for it.
  const made = await store.create<ProcessGroup>(processGroupType, {
    ...group('gone'),
    metadata: { name: 'gone', namespace: 'default' },
    spec: { size: 1, managedBy: 'example.com/other' },
  });
  await reconciler.reconcile('default/gone', signal);
  await taken(claims, made.metadata.uid!);
  await store.delete(processGroupType, { namespace: 'default', name: 'gone' });
  expect(await leases()).toBe(1);
  await reconciler.reconcile('default/gone', signal);
  expect(await leases()).toBe(0);
});
