import { expect, test } from 'vitest';
import type { SandboxSpec } from './agent-types.ts';
import { loadWire } from './load.ts';
import { wholeSpec } from './whole-spec.ts';

test('a spec that an older agent kept has all fields of this version, and what it says is as it was', () => {
  const wire = loadWire();
  const kept = {
    ...{ id: { groupUid: 'u', ordinal: 3, incarnation: 2 }, ranks: '0-3', uid: 1000, logQuotaBytes: 2 ** 40 },
    ...{ programs: [{ ranks: '0-3', argv: ['a', 'b'] }], network: null, aFieldThatIsNoMore: 1 },
  };
  const spec = wholeSpec(kept as unknown as SandboxSpec, wire);
  expect(spec).toMatchObject({ id: kept.id, ranks: '0-3', uid: 1000, logQuotaBytes: 2 ** 40, network: null });
  expect(spec.programs[0]).toMatchObject({ ranks: '0-3', argv: ['a', 'b'] });
  expect([spec.move, spec.lease, spec.devices, spec.hosts]).toEqual([null, null, [], '']);
  expect(spec).not.toHaveProperty('aFieldThatIsNoMore');
  expect(wholeSpec(spec, wire)).toEqual(spec);
});
