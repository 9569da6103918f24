import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { native } from '../../native/addon/index.ts';
import { descriptorsOf } from './descriptors.ts';
import { heldSockets, outerConnections, unixSockets } from './sockets.ts';

test('the kernel tells both ends of a connection', async () => {
  const directory = mkdtempSync(`${tmpdir()}/muster-sockets-`);
  const path = `${directory}/socket`;
  const server = createServer();
  try {
    await once(server.listen(path), 'listening');
    const client: Socket = connect(path);
    const [served] = (await once(server, 'connection')) as [Socket];
    const sockets = await unixSockets(native(), -1);
    const own = heldSockets(descriptorsOf([process.pid]));
    const accepted = sockets.find(({ name, state }) => name === path && state === 1);
    expect(own.has(accepted?.inode ?? 0)).toBe(true);
    expect(own.has(accepted?.peer ?? 0)).toBe(true);
    expect(outerConnections(sockets, own).filter(({ peerName }) => peerName === path)).toEqual([]);
    // Seen as somebody who holds the client's end only.
    const theirs = new Map([[accepted?.peer ?? 0, process.pid]]);
    expect(outerConnections(sockets, theirs)).toEqual([{ pid: process.pid, peerName: path, accepted: true }]);
    served.destroy();
    client.destroy();
  } finally {
    server.close();
    rmSync(directory, { recursive: true, force: true });
  }
});

const socket = { state: 1, name: '', peer: null, pending: [] };

test('a connection that its listener has not accepted yet is one to outside all the same', () => {
  const sockets = [
    { ...socket, inode: 1, peer: 0 },
    { ...socket, inode: 2, state: 10, name: '/run/nscd/socket', pending: [1] },
  ];
  const outside = { pid: 7, peerName: '/run/nscd/socket', accepted: false };
  expect(outerConnections(sockets, new Map([[1, 7]]))).toEqual([outside]);
  const both = new Map([
    [1, 7],
    [2, 8],
  ]);
  expect(outerConnections(sockets, both)).toEqual([]);
});
