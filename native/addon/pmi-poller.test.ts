import * as fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { native, type PmiPoller } from './index.ts';

const n = native();

/** What was delivered, by key, and who has gone. */
function collect(poller: PmiPoller): {
  text: (key: number) => string;
  gone: Set<number>;
  until: (done: () => boolean) => Promise<void>;
} {
  const bytes = new Map<number, Buffer[]>();
  const gone = new Set<number>();
  const waiting: (() => void)[] = [];
  poller.onData = (records) => {
    for (let at = 0; at < records.length;) {
      const key = records.readUInt32LE(at);
      const length = records.readUInt32LE(at + 4);
      at += 8;
      if (length === 0xffffffff) {
        gone.add(key);
        continue;
      }
      const list = bytes.get(key) ?? [];
      list.push(Buffer.from(records.subarray(at, at + length)));
      bytes.set(key, list);
      at += (length + 3) & ~3;
    }
    for (const check of waiting) check();
  };
  return {
    text: (key) => Buffer.concat(bytes.get(key) ?? []).toString('latin1'),
    gone,
    until: (done) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (done()) resolve();
        };
        waiting.push(check);
        check();
      }),
  };
}

describe('PmiPoller', () => {
  it('delivers each byte once and leaves it in the socket', async () => {
    const [agent, rank] = n.socketPair(false);
    const held = n.dup(agent);
    const poller = n.pmiPoller();
    const seen = collect(poller);
    poller.add(1, agent);
    fs.writeSync(rank, 'cmd=init\n');
    await seen.until(() => seen.text(1) === 'cmd=init\n');
    fs.writeSync(rank, 'cmd=get_maxes\n');
    await seen.until(() => seen.text(1) === 'cmd=init\ncmd=get_maxes\n');
    // rank-init consumes the first request; what comes after is still delivered once.
    const consumed = Buffer.alloc(9);
    expect(fs.readSync(held, consumed)).toBe(9);
    expect(consumed.toString()).toBe('cmd=init\n');
    fs.writeSync(rank, 'cmd=finalize\n');
    await seen.until(() => seen.text(1) === 'cmd=init\ncmd=get_maxes\ncmd=finalize\n');
    poller.close();

    // A second adoption sees all that was not consumed, from the start.
    const second = n.pmiPoller();
    const after = collect(second);
    second.add(7, n.dup(held));
    await after.until(() => after.text(7) === 'cmd=get_maxes\ncmd=finalize\n');
    n.close(rank);
    await after.until(() => after.gone.has(7));
    second.close();
    n.close(held);
  });

  it('serves many sockets, with more bytes than a batch, and tells each end', async () => {
    const poller = n.pmiPoller();
    const seen = collect(poller);
    const ranks: number[] = [];
    const text = 'x'.repeat(60_000);
    for (let key = 0; key < 200; key++) {
      const [agent, rank] = n.socketPair(false);
      fs.writeSync(rank, text);
      poller.add(key, agent);
      ranks.push(rank);
    }
    await seen.until(() => ranks.every((_, key) => seen.text(key).length === text.length));
    for (const rank of ranks) n.close(rank);
    await seen.until(() => seen.gone.size === ranks.length);
    expect(ranks.every((_, key) => seen.text(key) === text)).toBe(true);
    poller.close();
  });

  it('refuses a key twice and forgets a removed one', async () => {
    const poller = n.pmiPoller();
    const seen = collect(poller);
    const [a, rank] = n.socketPair(false);
    const [other, otherRank] = n.socketPair(false);
    const held = n.dup(a);
    poller.add(1, a);
    expect(() => {
      poller.add(1, other);
    }).toThrow(expect.objectContaining({ code: 'EEXIST' }) as Error);
    poller.remove(1);
    poller.add(2, other);
    fs.writeSync(rank, 'unheard\n');
    fs.writeSync(otherRank, 'heard\n');
    await seen.until(() => seen.text(2) === 'heard\n');
    expect(seen.text(1)).toBe('');
    poller.close();
    for (const fd of [rank, otherRank, held]) n.close(fd);
  });
});
