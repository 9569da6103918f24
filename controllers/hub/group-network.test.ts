import { expect, test } from 'vitest';
import type { Entry } from './desired-book.ts';
import { groupNetworkOf } from './group-network.ts';

const entry = (node: string, ordinal: number): Entry => ({
  node,
  spec: { id: { groupUid: 'u', ordinal, incarnation: 1 }, groupName: 'job' },
  mayStart: true,
  want: 'Run',
  graceSeconds: 10,
});
const entries = [entry('node1', 0), entry('node2', 1), entry('node1', 2)];
const hello = (peerAddress: string, underlayMtu: number, networkKey = '') => ({
  ...{ peerAddress, underlayMtu, networkKey },
});

test('the smallest link counts, less what the tunnel adds', () => {
  const hellos = new Map([
    ['node1', hello('10.0.0.1:4000', 9000)],
    ['node2', hello('10.0.0.2:4000', 1500)],
  ]);
  expect(groupNetworkOf(entries, (node) => hellos.get(node))).toEqual({
    mtu: 1450,
    members: [
      { address: '10.0.0.1', ordinals: '0,2' },
      { address: '10.0.0.2', ordinals: '1' },
    ],
  });
});

test('IPv6 takes more of it; a link that is not known counts as Ethernet; too little is told as 0', () => {
  const mtuOf = (address: string, mtu: number): number | undefined =>
    groupNetworkOf([entry('node1', 0)], () => hello(address, mtu))?.mtu;
  expect(mtuOf('[fd00::1]:4000', 1500)).toBe(1430);
  expect(mtuOf('10.0.0.1:4000', 0)).toBe(1450);
  expect(mtuOf('10.0.0.1:4000', 1000)).toBe(0);
});

test('where tunnels are encrypted, the key of each node is told, and less is left', () => {
  const sealed = entries.map((each) => ({
    ...each,
    spec: { ...each.spec, network: { encryption: 'WireGuard' } },
  }));
  const told = groupNetworkOf(sealed, (node) =>
    hello(`10.0.0.${node.slice(-1)}:4000`, 1500, `key of ${node}`),
  );
  expect(told).toEqual({
    mtu: 1500 - 60 - 70,
    members: [
      { address: '10.0.0.1', ordinals: '0,2', key: 'key of node1' },
      { address: '10.0.0.2', ordinals: '1', key: 'key of node2' },
    ],
  });
  expect(groupNetworkOf(sealed, () => hello('[fd00::1]:4000', 1500))?.mtu).toBe(1500 - 80 - 70);
  expect(groupNetworkOf(sealed, () => hello('10.0.0.1:4000', 1280))?.mtu).toBe(0);
});

test('agents that share an address count as one place; a node not heard of yet is waited for', () => {
  expect(groupNetworkOf(entries, () => hello('127.0.0.1:1', 65_536))?.members).toEqual([
    { address: '127.0.0.1', ordinals: '0-2' },
  ]);
  expect(groupNetworkOf(entries, () => undefined)).toBeUndefined();
});
