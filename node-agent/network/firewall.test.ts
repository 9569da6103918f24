import { expect, test } from 'vitest';
import { changeText, elementsOf } from './firewall.ts';

test('a tunnel lets in packets of its number from nodes of the group, by IPv4 and IPv6', () => {
  const tunnel = { vni: 7, nodes: ['10.0.0.2', 'fd00::3'], isSealed: false };
  expect(elementsOf({ tunnel, bridge: 'mb1', subnet: '100.64.5.0/28', egress: true, hasSix: false })).toEqual(
    ['tunnels { 10.0.0.2 . 7 }', 'tunnels6 { fd00::3 . 7 }', 'inside { 100.64.5.0/28 }'],
  );
  const sealed = { ...tunnel, nodes: ['fd4d::1'], isSealed: true };
  expect(
    elementsOf({ tunnel: sealed, bridge: 'mb1', subnet: '100.64.5.0/28', egress: true, hasSix: false }),
  ).toEqual(['sealed { fd4d::1 . 7 }', 'inside { 100.64.5.0/28 }']);
  expect(
    elementsOf({ tunnel: null, bridge: 'mb1', subnet: '100.64.5.0/28', egress: false, hasSix: false }),
  ).toEqual(['inside { 100.64.5.0/28 }', 'closed { "mb1" }']);
});

test('only what differs is changed, and deleting what is gone already is no error', () => {
  const [gone, kept, fresh] = ['tunnels { a . 1 }', 'tunnels { b . 1 }', 'tunnels { c . 1 }'];
  expect(
    changeText('t', new Set([gone, kept]), new Set([kept, fresh]))
      .trimEnd()
      .split('\n'),
  ).toEqual([`add element inet t ${gone}`, `delete element inet t ${gone}`, `add element inet t ${fresh}`]);
  expect(changeText('t', new Set([kept]), new Set([kept]))).toBe('');
});
