import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  addressBytes,
  addressOf,
  gatewayOf,
  macOf,
  mtuOver,
  overlaps,
  parseSubnet,
  roomOf,
} from './job-addresses.ts';

const subnets = ['100.64.0.0/28', '10.1.2.0/24', '172.16.16.0/20', '192.168.0.0/16'];

it('gives every sandbox an address of its own in the subnet, and a hardware address that follows from it', () => {
  fc.assert(
    fc.property(fc.constantFrom(...subnets), fc.nat(), fc.nat(), (text, a, b) => {
      const subnet = parseSubnet(text);
      const [one, other] = [a, b].map((number) => number % roomOf(subnet)) as [number, number];
      const ips = [addressOf(subnet, one), addressOf(subnet, other)] as const;
      for (const ip of ips) {
        expect(overlaps(`${ip}/32`, text)).toBe(true);
        expect(ip).not.toBe(gatewayOf(subnet));
      }
      expect(ips[0] === ips[1]).toBe(one === other);
      expect(macOf(ips[0]) === macOf(ips[1])).toBe(one === other);
    }),
  );
});

it('has no address for a sandbox too many', () => {
  const subnet = parseSubnet('100.64.0.0/28');
  expect(addressOf(subnet, 12)).toBe('100.64.0.14');
  expect(() => addressOf(subnet, 13)).toThrow(/sandbox 13 has no address in 100.64.0.0\/28/);
});

it('reads addresses of both kinds, and refuses what is none', () => {
  expect(addressBytes('fd00::1:2').toString('hex')).toBe('fd000000000000000000000000010002');
  expect(addressBytes('::ffff:10.0.0.1').toString('hex')).toBe('00000000000000000000ffff0a000001');
  expect(addressBytes('::').toString('hex')).toBe('00'.repeat(16));
  expect(() => addressBytes('10.0.0')).toThrow(RangeError);
  for (const text of ['10.0.0.1/24', '10.0.0.0/31', '10.0.0.0', 'fd00::/64'])
    expect(() => parseSubnet(text), text).toThrow(RangeError);
});

it('leaves room for the tunnel, or says that there is none', () => {
  expect([mtuOver(1500, false), mtuOver(1500, true), mtuOver(1280, true), mtuOver(1200, false)]).toEqual([
    1450, 1430, 1210, 0,
  ]);
});
