import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { native, type Packet, type PacketSocket } from './index.ts';

const n = native();
const directory = fs.mkdtempSync(join(tmpdir(), 'muster-packets-'));
afterAll(() => {
  fs.rmSync(directory, { recursive: true });
});

function pair(): [PacketSocket, PacketSocket] {
  const [a, b] = n.socketPair(true);
  return [n.packetSocket(a), n.packetSocket(b)];
}
const packet = (socket: PacketSocket): Promise<Packet> =>
  new Promise((resolve) => {
    socket.onPacket = resolve;
  });
const closed = (socket: PacketSocket): Promise<NodeJS.ErrnoException | null> =>
  new Promise((resolve) => {
    socket.onClose = resolve;
  });

describe('PacketSocket', () => {
  it('keeps packets apart and carries descriptors', async () => {
    const [a, b] = pair();
    const fd = n.memfd('rider', Buffer.from('inside'), false);
    expect(a.send(Buffer.from('one'), [fd, fd])).toBe(true);
    expect(a.send(Buffer.from('two'))).toBe(true);
    const seen: Packet[] = [];
    await new Promise<void>((resolve) => {
      b.onPacket = (each) => {
        seen.push(each);
        if (seen.length === 2) resolve();
      };
    });
    expect(seen.map((each) => each.bytes.toString())).toEqual(['one', 'two']);
    expect(seen.map((each) => each.fds.length)).toEqual([2, 0]);
    expect(n.readAll(seen[0]!.fds[1]!, 100).toString()).toBe('inside');
    for (const each of [fd, ...seen[0]!.fds]) n.close(each);
    a.close();
    b.close();
  });

  it('refuses when the queue is full, loses nothing, and says when there is room', async () => {
    const [a, b] = n.socketPair(true);
    const sender = n.packetSocket(a);
    const bytes = Buffer.alloc(8192);
    let sent = 0;
    while (sender.send(bytes.fill(sent & 255))) sent++;
    expect(sent).toBeGreaterThan(20);
    const drained = new Promise<void>((resolve) => {
      sender.onDrain = resolve;
    });
    const receiver = n.packetSocket(b);
    let got = 0;
    let right = true;
    const total = sent + 1;
    const all = new Promise<void>((resolve) => {
      receiver.onPacket = (each) => {
        right &&= each.bytes.length === 8192 && each.bytes[8191] === (got & 255);
        if (++got === total) resolve();
      };
    });
    await drained;
    expect(sender.send(bytes.fill(sent & 255))).toBe(true);
    await all;
    expect(right).toBe(true);
    sender.close();
    receiver.close();
  });

  it('carries a packet of half a mebibyte', async () => {
    const [a, b] = pair();
    const got = packet(b);
    expect(a.send(Buffer.alloc(512 * 1024, 7))).toBe(true);
    expect((await got).bytes.equals(Buffer.alloc(512 * 1024, 7))).toBe(true);
    a.close();
    b.close();
  });

  it('says once that the peer has gone, after what it sent', async () => {
    const [a, b] = pair();
    const order: string[] = [];
    b.onPacket = (each) => order.push(each.bytes.toString());
    const gone = closed(b);
    a.send(Buffer.from('last'));
    a.close();
    expect(await gone).toBeNull();
    expect(order).toEqual(['last']);
    expect(() => b.send(Buffer.from('x'))).toThrow(expect.objectContaining({ code: 'EPIPE' }) as Error);
    expect(() => a.send(Buffer.from('x'))).toThrow(expect.objectContaining({ code: 'EPIPE' }) as Error);
  });

  it('may be closed inside its own callback', async () => {
    const [a, b] = pair();
    for (let i = 0; i < 10; i++) a.send(Buffer.from([i]));
    let count = 0;
    const gone = closed(a);
    b.onPacket = () => {
      count++;
      b.close();
    };
    await gone;
    expect(count).toBe(1);
  });

  it('refuses what is no packet socket and an empty packet', () => {
    const [read, write] = n.socketPair(false);
    expect(() => n.packetSocket(read)).toThrow(expect.objectContaining({ code: 'EPROTOTYPE' }) as Error);
    n.close(read);
    n.close(write);
    const [a, b] = pair();
    expect(() => a.send(Buffer.alloc(0))).toThrow(expect.objectContaining({ code: 'EINVAL' }) as Error);
    a.close();
    b.close();
  });
});

describe('PacketServer', () => {
  it.each(['short.sock', `${'long-'.repeat(30)}/long.sock`])(
    'accepts on %s, with mode and credentials',
    async (name) => {
      const path = join(directory, name);
      fs.mkdirSync(dirname(path), { recursive: true });
      const server = n.listenPacket(path, 0o600);
      expect(fs.statSync(path).mode & 0o777).toBe(0o600);
      const connection = new Promise<PacketSocket>((resolve) => {
        server.onConnection = resolve;
      });
      const client = n.connectPacket(path);
      const served = await connection;
      expect(served.peerCredentials()).toEqual({
        pid: process.pid,
        uid: process.getuid!(),
        gid: process.getgid!(),
      });
      const got = packet(client);
      served.send(Buffer.from('welcome'));
      expect((await got).bytes.toString()).toBe('welcome');
      const again = n.listenPacket(path, 0o660);
      for (const each of [client, served, server, again]) each.close();
      expect(fs.readdirSync(dirname(path)).filter((each) => each.endsWith(`.${process.pid}`))).toEqual([]);
    },
  );

  it('says who is missing', () => {
    const path = join(directory, 'nobody.sock');
    expect(() => n.connectPacket(path)).toThrow(expect.objectContaining({ code: 'ENOENT', path }) as Error);
  });
});
