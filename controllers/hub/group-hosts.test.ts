import { expect, test } from 'vitest';
import type { Entry } from './desired-book.ts';
import { subnetSixOf } from '../../wire/job-addresses.ts';
import { groupHostsOf } from './group-hosts.ts';

const entry = (node: string, ordinal: number): Entry => ({
  node,
  spec: { id: { groupUid: 'u', ordinal, incarnation: 1 }, groupName: 'job' },
  mayStart: true,
  want: 'Run',
  graceSeconds: 10,
});

test('every node has one line with the sandboxes on it', () => {
  const addresses = new Map([
    ['node1', '10.0.0.1:4000'],
    ['node2', '[fd00::2]:4000'],
  ]);
  const entries = [entry('node1', 0), entry('node2', 1), entry('node1', 2)];
  expect(groupHostsOf(entries, (node) => addresses.get(node))).toBe(
    '10.0.0.1 node1 job-0 job-2\nfd00::2 node2 job-1\n',
  );
});

test('a node that was not heard of yet is waited for, one known by name alone is left to DNS', () => {
  expect(groupHostsOf([entry('node1', 0), entry('node2', 1)], () => undefined)).toBeUndefined();
  expect(groupHostsOf([entry('node1', 0)], () => 'node1.example:4000')).toBe('');
});

test('in a network of its own each sandbox has a line by IPv4, and one by IPv6 where it has that', () => {
  const own = (subnet6: string): Entry[] =>
    [entry('node1', 0), entry('node2', 1)].map((each) => ({
      ...each,
      spec: { ...each.spec, network: { subnet: '100.64.5.0/28', subnet6 } },
    }));
  const hosts = (subnet6: string): string | undefined => groupHostsOf(own(subnet6), () => '10.0.0.1:4000');
  expect(hosts('')).toBe('100.64.5.2 job-0\n100.64.5.3 job-1\n');
  expect(hosts(subnetSixOf(0x010203))).toBe(
    '100.64.5.2 job-0\nfd6d:4d75:102:301::6440:502 job-0\n100.64.5.3 job-1\nfd6d:4d75:102:301::6440:503 job-1\n',
  );
});
