/** Bytes for a pager over a real link, with mutual TLS, and from this process: whole, and in the order in which they were given. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { issue, makeAuthority } from '../../controllers/pki/certificate.ts';
import { native } from '../../native/addon/index.ts';
import { LinkClient, LinkServer } from '../../node-agent/migration/link.ts';
import { PagePipe } from '../../node-agent/migration/page-pipe.ts';
import type { TlsMaterial } from '../../node-agent/tls.ts';
import { eventually } from '../contract/eventually.ts';

const directory = mkdtempSync(join(tmpdir(), 'muster-pipe-'));
const memory = randomBytes(5 << 20);
let here: TlsMaterial;
let there: TlsMaterial;
let pager: Server;
/** The pager's end, which reads nothing yet. */
let reading: Promise<Socket>;
let socket: Socket;

beforeAll(async () => {
  const authority = await makeAuthority('test');
  const ofNode = async (node: string): Promise<TlsMaterial> => {
    const { cert, key } = await issue(authority, { kind: 'node', node });
    return { ca: Buffer.from(authority.cert), cert: Buffer.from(cert), key: Buffer.from(key) };
  };
  [here, there] = [await ofNode('here'), await ofNode('there')];
  writeFileSync(join(directory, 'memory'), memory);
  pager = createServer({ pauseOnConnect: true });
  reading = new Promise((resolve) => pager.once('connection', resolve));
  await new Promise<void>((resolve) => pager.listen(join(directory, 'pages'), resolve));
  socket = connect(join(directory, 'pages'));
  await new Promise((resolve) => socket.once('connect', resolve));
});

afterAll(() => {
  socket?.destroy();
  pager?.close();
  rmSync(directory, { recursive: true });
});

test('comes in order, whoever writes it, to one who reads when it likes; and says so when nothing more can come', async () => {
  const server = LinkServer.open(native(), there, '127.0.0.1', 'here')!;
  using link = LinkClient.open(native(), here, { host: '127.0.0.1', port: server.port, node: 'there' })!;
  await eventually(() => expect(server.isOpen).toBe(true));
  const troubles: unknown[] = [];
  const pipe = new PagePipe(socket, (error) => troubles.push(error));
  const file = openSync(join(directory, 'memory'), 'r');
  const parts = [[1 << 20, 100], [0, 3 << 20], [5, 1]] as const; // prettier-ignore
  const expected = [Buffer.from('by this process '), Buffer.from('in two parts ')];
  pipe.write(...expected);
  for (const [offset, length] of parts) {
    const first = Buffer.from(`${String(length)} bytes: `);
    void server.send(file, offset, length);
    pipe.carry(link, first, length);
    pipe.write(Buffer.from('and on '));
    expected.push(first, memory.subarray(offset, offset + length), Buffer.from('and on '));
  }
  const all = Buffer.concat(expected);
  const come: Buffer[] = [];
  (await reading).on('data', (bytes: Buffer) => come.push(bytes)).resume();
  await eventually(() => expect(Buffer.concat(come).equals(all)).toBe(true), 30_000);
  closeSync(file);
  expect(troubles).toEqual([]);
  pipe.carry(link, Buffer.alloc(0), 1);
  server[Symbol.dispose]();
  await eventually(() => expect(troubles.length).toBe(1));
});
