import { expect, test } from 'vitest';
import type { SandboxSpec } from '../wire/agent-types.ts';
import { loadWire } from '../wire/load.ts';
import { wholeSpec } from '../wire/whole-spec.ts';
import { isPreparedAnew } from './prepared.ts';

const specOf = (given: object): SandboxSpec => wholeSpec(given as SandboxSpec, loadWire());
const network = { subnet: '10.1.0.0/28', vni: 7, members: [] };
const base = { ranks: '0-1', size: 2, hosts: '10.0.0.1 node1\n', network };
const known = specOf({ ...base, want: 'Prepare' });

test.each<[string, object, boolean]>([
  ['to run now', { want: 'Run', hosts: '' }, false],
  ['to be ended', { want: 'End', graceSeconds: 3, hosts: '' }, false],
  ['with other nodes in its network', { network: { ...network, members: [{ node: '10.0.0.2' }] } }, false],
  ['with other ranks', { want: 'Run', ranks: '0' }, true],
  ['with another program', { want: 'Run', programs: [{ name: 'main', argv: ['b'] }] }, true],
  ['with other addresses', { want: 'Run', network: { ...network, subnet: '10.2.0.0/28' } }, true],
])('a sandbox that was got ready, wanted %s', (_what, wanted, isAnew) => {
  expect(isPreparedAnew(known, specOf({ ...base, ...wanted }))).toBe(isAnew);
});

test('a sandbox that was told to run stays what it is', () => {
  const running = specOf({ ...base, want: 'Run' });
  expect(isPreparedAnew(running, specOf({ ...base, want: 'Run', ranks: '0' }))).toBe(false);
});
