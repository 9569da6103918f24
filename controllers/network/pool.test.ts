import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { overlaps, parseSubnet, roomOf } from '../../wire/job-addresses.ts';
import {
  classFor,
  claimAt,
  claimOf,
  defaultPool,
  networkPoolOf,
  nextFree,
  numberOf,
  sizeOfClass,
} from './pool.ts';

const range = fc.constantFrom(defaultPool, '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '10.9.8.0/26');
const place = fc.record({ kind: fc.nat(3), index: fc.nat(65_535) });

describe('networks of a pool', () => {
  it('lie in it, and never cross one another', () => {
    fc.assert(
      fc.property(range, place, place, (text, one, other) => {
        const pool = networkPoolOf('c', text);
        const claims = [one, other]
          .filter(({ kind, index }) => index < sizeOfClass(pool, kind))
          .map(({ kind, index }) => claimAt(pool, kind, index));
        for (const { subnet, number, vni } of claims) {
          expect(overlaps(text, subnet)).toBe(true);
          expect(parseSubnet(subnet).prefix).toBeGreaterThanOrEqual(pool.subnet.prefix);
          expect(claimOf(pool, number)?.subnet).toBe(subnet);
          expect(numberOf(vni)).toBe(number);
          expect(vni).toBeLessThan(2 ** 24);
        }
        const [a, b] = claims;
        if (a && b && a.number !== b.number) {
          expect(overlaps(a.subnet, b.subnet)).toBe(false);
          expect(a.vni).not.toBe(b.vni);
        }
      }),
    );
  });

  it('have room for the sandboxes that they are taken for', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 65_533 }), (sandboxes) => {
        const kind = classFor(sandboxes)!;
        expect(roomOf(parseSubnet(claimAt(networkPoolOf('c'), kind, 0).subnet))).toBeGreaterThanOrEqual(
          sandboxes,
        );
      }),
    );
    expect(classFor(70_000)).toBeUndefined();
  });

  it('are taken in turn until there is none left, and never across a route', () => {
    const pool = networkPoolOf('c', '10.9.0.0/24');
    const taken = new Set<number>();
    const route = '10.9.0.16/28';
    for (let last = 0; ;) {
      const claim = nextFree(pool, 0, last, (number) => taken.has(number), [route]);
      if (!claim) break;
      expect(taken.has(claim.number)).toBe(false);
      expect(claim.subnet).not.toBe(route);
      taken.add(claim.number);
      last = claim.number;
    }
    expect(taken.size).toBe(sizeOfClass(pool, 0) - 1);
  });

  it('keep clear of as many ranges as a cluster has nodes, in no time', () => {
    const pool = networkPoolOf('c');
    const pods = Array.from({ length: 3000 }, (_, node) => `100.${64 + (node >> 8)}.${node & 255}.0/24`);
    const claim = nextFree(pool, 0, -1, () => false, pods)!;
    expect(pods.some((range) => overlaps(range, claim.subnet))).toBe(false);
    expect(nextFree(pool, 0, -1, () => false, [...pods, '100.64.0.0/12'])).toBeUndefined();
  });

  it('refuses ranges that hold no network', () => {
    expect(() => networkPoolOf('c', '10.0.0.0/30')).toThrow(/10.0.0.0\/30 has no room for job networks/);
    expect(() => networkPoolOf('c', 'ten')).toThrow(RangeError);
  });
});
