/**
 * Who has which job network, on a real store: two control planes that both believe they lead never give one to two groups.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NetworkClaims } from '../../controllers/network/claims.ts';
import { networkPoolOf, type NetworkClaim } from '../../controllers/network/pool.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { FileStore } from '../../store/file/file-store.ts';
import { builtinTypes } from '../../store/resource.ts';

const { signal } = new AbortController();
const pool = networkPoolOf('cluster', '10.9.0.0/24');
let directory: string;
let store: FileStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-claims-'));
  store = await FileStore.open({ directory, types: [builtinTypes.lease] });
});
afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true });
});

const plane = (): NetworkClaims =>
  new NetworkClaims({ store, pool, namespace: 'default', logger: pino({ enabled: false }), begin: () => 0 });
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
