import { expect, test } from 'vitest';
import type { HeldLease } from '../native/addon/abi.ts';
import { Lease } from './lease.ts';

const ms = 1_000_000n;
const incarnation = 3;
const unleased: HeldLease = { state: 'unleased', epoch: 0n, expiresNs: 0n, endsNs: 0n };
const held = (expiresMs: bigint, endsMs: bigint, more: Partial<HeldLease> = {}): HeldLease => ({
  state: 'running',
  epoch: BigInt(incarnation),
  expiresNs: expiresMs * ms,
  endsNs: endsMs * ms,
  ...more,
});

/** An agent at this time, that may have been started anew. */
function at(nowMs: bigint) {
  let nowNs = nowMs * ms;
  const lease = new Lease({ expiresAfterMs: 1000, endsAfterMs: 2000 }, incarnation, () => nowNs);
  const look = (table: HeldLease, superseded = false): string[] => {
    lease.look(table, superseded);
    return lease.todo.splice(0);
  };
  return { lease, look, pass: (forMs: bigint) => (nowNs += forMs * ms) };
}

test('a grant is handed on from the sending of its heartbeat, and lets the ranks start', () => {
  const { lease, look } = at(10_000n);
  expect(look(unleased)).toEqual([]);
  lease.granted(9_900n * ms);
  expect(lease.isGranted).toBe(true);
  expect(look(unleased)).toEqual(['Renew', 'Plug', 'Thaw', 'Start']);
  expect(lease.renewed).toEqual({ expiresNs: 10_900n * ms, endsNs: 11_900n * ms });
  expect(lease.state).toBe('Holding');
});

test('a grant that comes after its lease has expired is none', () => {
  const { lease, look } = at(10_000n);
  lease.granted(9_000n * ms);
  expect(lease.isGranted).toBe(false);
  expect(look(unleased)).toEqual([]);
});

test('expiry fences, a grant undoes it, the hard end kills, and no grant counts any more', () => {
  const { lease, look, pass } = at(10_000n);
  lease.granted(10_000n * ms);
  look(unleased);
  expect(lease.dueInMs(unleased)).toBe(1001);
  pass(1_000n);
  expect(look(held(11_000n, 12_000n))).toEqual(['Freeze', 'Unplug']);
  lease.granted(10_500n * ms);
  expect(look(held(11_000n, 12_000n))).toEqual(['Renew', 'Plug', 'Thaw']);
  pass(1_400n);
  expect(look(held(11_500n, 12_500n))).toEqual(['Kill']);
  lease.granted(12_400n * ms);
  expect(look(held(11_500n, 12_500n))).toEqual([]);
  expect(lease.dueInMs(held(11_500n, 12_500n))).toBeNull();
});

test('an agent started anew finds from rank-init where things stand', () => {
  expect(at(10_000n).look(held(10_500n, 11_500n))).toEqual([]);
  expect(at(10_600n).look(held(10_500n, 11_500n))).toEqual(['Freeze', 'Unplug']);
  expect(at(11_600n).look(held(10_500n, 11_500n))).toEqual(['Kill']);
  expect(at(10_000n).look(held(10_500n, 11_500n, { state: 'ended' }))).toEqual(['Kill']);
});

test('times of an image are nobody’s: what was brought back is fenced until it has a lease of its own', () => {
  const image = held(1n, 2n, { epoch: 2n, state: 'ended' });
  const { lease, look } = at(10_000n);
  expect(look(image)).toEqual(['Freeze', 'Unplug']);
  lease.granted(9_990n * ms);
  expect(look(image)).toEqual(['Renew', 'Plug', 'Thaw']);
});

test('what the hub wants gone is killed, whatever it holds', () => {
  const { lease, look } = at(10_000n);
  lease.granted(10_000n * ms);
  look(unleased);
  expect(look(held(11_000n, 12_000n), true)).toEqual(['Kill']);
});
