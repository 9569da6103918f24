import { expect, test } from 'vitest';
import type { SandboxSpec } from '../wire/agent-types.ts';
import { loadWire } from '../wire/load.ts';
import { wholeSpec } from '../wire/whole-spec.ts';
import { specChange } from './spec-change.ts';

const specOf = (given: object): SandboxSpec => wholeSpec(given as SandboxSpec, loadWire());
const members = [{ address: '10.0.0.1', ordinals: '0-1', key: '' }];
const network = { subnet: '10.1.0.0/28', vni: 7, members };
const base = { ranks: '0-1', size: 2, want: 'Prepare', network };
const known = specOf(base);
const flags = { isOther: true, hasOrders: false, hasNetwork: false };

test.each<[string, object, object]>([
  ['the same', {}, { ...flags, isOther: false }],
  ['to run now', { want: 'Run' }, flags],
  ['another grace period', { graceSeconds: 3 }, flags],
  ['a checkpoint', { checkpoint: { checkpointUid: 'c' } }, { ...flags, hasOrders: true }],
  ['members not known yet', { network: { ...network, members: [] } }, { ...flags, isOther: false }],
  ['one more member', { network: { ...network, members: [...members, { address: '10.0.0.2', ordinals: '2' }] } }, { ...flags, hasNetwork: true }],
])('what is said anew: %s', (_what, told, expected) => {
  const { spec, ...change } = specChange(known, specOf({ ...base, ...told }));
  expect(change).toEqual(expected);
  expect(spec.network?.members.length).toBeGreaterThan(0);
}); // prettier-ignore

test('what a sandbox was launched with stays', () => {
  const { spec, isOther } = specChange(known, specOf({ ...base, ranks: '0', size: 1 }));
  expect(isOther).toBe(false);
  expect(spec).toEqual(known);
});
