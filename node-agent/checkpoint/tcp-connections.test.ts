import { expect, test } from 'vitest';
import { covers, outerTcpConnections, peerOf, type TcpSocket } from './tcp-connections.ts';

const socket = (local: string, remote: string, inode: number): TcpSocket => {
  const [localAddress = '', localPort = ''] = local.split(' ');
  const [remoteAddress = '', remotePort = ''] = remote.split(' ');
  const ports = { localPort: Number(localPort), remotePort: Number(remotePort) };
  const isListening = Number(remotePort) === 0;
  return { family: 2, isListening, localAddress, remoteAddress, ...ports, inode, id: Buffer.alloc(48) };
};

test('in a network of its own only what leaves the group is outside', () => {
  const inside = socket('10.1.0.1 5000', '10.1.0.2 6000', 1);
  const loop = socket('127.0.0.1 5000', '127.0.0.1 6000', 2);
  const outside = socket('10.1.0.1 5001', '192.0.2.7 443', 3);
  const waiting = socket('10.1.0.1 80', '192.0.2.8 5555', 0);
  const listener = socket('0.0.0.0 80', '0.0.0.0 0', 4);
  const held = new Map([[4, 1]]);
  expect(
    outerTcpConnections([inside, loop, outside, waiting, listener], { held, subnets: ['10.1.0.0/28'] }),
  ).toEqual([outside, waiting]);
});

test("on the node's network connections count that ranks hold, unless both ends are theirs", () => {
  const one = socket('127.0.0.1 5000', '127.0.0.1 6000', 1);
  const other = socket('127.0.0.1 6000', '127.0.0.1 5000', 2);
  const outer = socket('127.0.0.1 5001', '127.0.0.1 7000', 3);
  const strangers = socket('127.0.0.1 7000', '127.0.0.1 5001', 9);
  const waiting = socket('127.0.0.1 6000', '127.0.0.1 5005', 0);
  const listener = socket('127.0.0.1 6000', '0.0.0.0 0', 4);
  const held = new Map([1, 2, 3, 4].map((inode) => [inode, 100]));
  expect(
    outerTcpConnections([one, other, outer, strangers, waiting, listener], { held, subnets: [] }),
  ).toEqual([outer, waiting]);
  expect(outerTcpConnections([strangers], { held, subnets: [] })).toEqual([]);
});

test('addresses are compared by the length of the network', () => {
  expect(covers('10.1.0.16/28', '10.1.0.31')).toBe(true);
  expect(covers('10.1.0.16/28', '10.1.0.32')).toBe(false);
  expect(covers('10.1.0.0/28', 'fe80:0:0:0:0:0:0:1')).toBe(false);
  expect(covers('fd6d:4d75:1:200::/64', 'fd6d:4d75:1:200:0:0:6440:2')).toBe(true);
  expect(covers('fd6d:4d75:1:200::/64', 'fd6d:4d75:1:300:0:0:6440:2')).toBe(false);
  expect(covers('fd6d:4d75:1:200::/64', '100.64.0.2')).toBe(false);
  expect(peerOf(socket('1.2.3.4 5', '6.7.8.9 10', 1))).toBe('6.7.8.9:10');
});
