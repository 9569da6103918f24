/** The link by which sandboxes go from agent to agent, over real sockets with certificates of a real authority. */
import { createHash, randomFillSync } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { issue, makeAuthority, type KeyAndCertificate } from '../../controllers/pki/certificate.ts';
import { native } from '../../native/addon/index.ts';
import { LinkClient, LinkServer } from '../../node-agent/migration/link.ts';
import type { TlsMaterial } from '../../node-agent/tls.ts';
import { eventually } from '../contract/eventually.ts';

const directory = mkdtempSync(join(tmpdir(), 'muster-link-'));
const at = (name: string): string => join(directory, name);
const n = native();
const host = '127.0.0.1';
let tls: (node: string, by?: KeyAndCertificate) => Promise<TlsMaterial>;
let other: KeyAndCertificate;

beforeAll(async () => {
  const authority = await makeAuthority('test');
  other = await makeAuthority('other');
  tls = async (node, by = authority) => {
    const { cert, key } = await issue(by, { kind: 'node', node });
    const ca = Buffer.from(authority.cert);
    return { ca, cert: Buffer.from(cert), key: Buffer.from(key) };
  };
});
afterAll(() => rmSync(directory, { recursive: true }));

const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

test('ranges of files arrive as they were, in the order that both ask for', async () => {
  const bytes = randomFillSync(Buffer.alloc((5 << 20) + 123));
  writeFileSync(at('from'), bytes);
  using server = LinkServer.open(n, await tls('node1'), host, 'node2')!;
  using client = LinkClient.open(n, await tls('node2'), { host, port: server.port, node: 'node1' })!;
  await eventually(() => expect(server.isOpen).toBe(true), 10_000);
  const [from, to] = [openSync(at('from'), 'r'), openSync(at('to'), 'w')];
  const ranges = [
    [3 << 20, bytes.length - (3 << 20)],
    [0, 1 << 20],
    [1 << 20, 2 << 20],
  ] as const;
  const all = ranges.flatMap(([offset, length]) => [
    client.receive(to, offset, length),
    server.send(from, offset, length),
  ]);
  closeSync(from); // it has its own by now
  closeSync(to);
  await Promise.all(all);
  expect(digestOf(readFileSync(at('to')))).toBe(digestOf(bytes));
});

test('a node that it is not for, or that another authority speaks for, is not let in; the right one is', async () => {
  using server = LinkServer.open(n, await tls('node1'), host, 'node2')!;
  const place = { host, port: server.port, node: 'node1' };
  using wrong = LinkClient.open(n, await tls('node3'), place)!;
  using strange = LinkClient.open(n, await tls('node2', other), place)!;
  const to = openSync(at('nothing'), 'w');
  await expect(wrong.receive(to, 0, 1)).rejects.toThrow('link: ');
  await expect(strange.receive(to, 0, 1)).rejects.toThrow('link: ');
  closeSync(to);
  expect(server.isOpen).toBe(false);
  using right = LinkClient.open(n, await tls('node2'), place)!;
  void right;
  await eventually(() => expect(server.isOpen).toBe(true), 10_000);
});

test('who says to be another node is not believed', async () => {
  using server = LinkServer.open(n, await tls('node3'), host, 'node2')!;
  using client = LinkClient.open(n, await tls('node2'), { host, port: server.port, node: 'node1' })!;
  const to = openSync(at('nothing'), 'w');
  await expect(client.receive(to, 0, 1)).rejects.toThrow(/certificate verify failed|EPROTO|mismatch/);
  closeSync(to);
});

test('a full disk, a file that ends early and a link that is closed fail what is asked for', async () => {
  using server = LinkServer.open(n, await tls('node1'), host, 'node2')!;
  const client = LinkClient.open(n, await tls('node2'), { host, port: server.port, node: 'node1' })!;
  await eventually(() => expect(server.isOpen).toBe(true), 10_000);
  writeFileSync(at('short'), 'short');
  const [from, full] = [openSync(at('short'), 'r+'), openSync('/dev/full', 'w')];
  const received = expect(client.receive(full, 0, 5)).rejects.toMatchObject({ code: 'ENOSPC' });
  await server.send(from, 0, 5);
  await received;
  ftruncateSync(from, 2);
  await expect(server.send(from, 0, 5)).rejects.toThrow('No data available');
  const never = expect(client.receive(full, 0, 5)).rejects.toThrow();
  client[Symbol.dispose]();
  await never;
  closeSync(from);
  closeSync(full);
});
