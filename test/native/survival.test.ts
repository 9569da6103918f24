import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { native } from '../../native/addon/index.ts';
import { close, eventually, message, readToEnd, Sandbox, slotState } from './sandbox.ts';

/** One entry of ANSWER. */
function answer(slot: number, order: bigint, consume: number, reply: string, note = ''): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(slot, 0);
  head.writeUInt32LE(consume, 4);
  head.writeBigUInt64LE(order, 8);
  head.writeUInt32LE(Buffer.byteLength(reply), 16);
  head.writeUInt32LE(Buffer.byteLength(note), 20);
  const whole = Buffer.concat([head, Buffer.from(reply), Buffer.from(note)]);
  return Buffer.concat([whole, Buffer.alloc((8 - (whole.length % 8)) % 8)]);
}

/** Processes of a pid namespace, as the host sees them. */
function living(pidns: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return readlinkSync(`/proc/${name}/ns/pid`) === pidns &&
        !/^State:\tZ/m.test(readFileSync(`/proc/${name}/status`, 'utf8'))
        ? [Number(name)]
        : [];
    } catch {
      return [];
    }
  });
}

/** Waits for so many bytes of requests, without consuming them; takes the descriptor. */
async function peeked(fd: number, bytes: number): Promise<void> {
  const poller = native().pmiPoller();
  let seen = 0;
  poller.onData = (records) => (seen += records.readUInt32LE(4));
  poller.add(0, fd);
  await eventually(() => seen >= bytes, 'requests');
  poller.close();
}

const orphan = `
(setsid sh -c 'setsid sleep 1000 >/dev/null 2>&1 3>&- & setsid sleep 1000 >/dev/null 2>&1 3>&- &' &)
exit 0`;

describe('PMI answers', () => {
  it('are carried out once and in order, whoever repeats them', async () => {
    await using sandbox = Sandbox.launch();
    const script = 'printf "req1\\nreq2\\n" >&3; read -r a <&3; echo "$a"; read -r b <&3; echo "$b"; cat <&3';
    const { words } = await sandbox.start([{ argv: ['sh', '-c', script], pmi: true }]);
    const slot = words[0]!;
    await peeked(sandbox.take(sandbox.slot(slot).fdPmi), 10);
    sandbox.send(message.answer, answer(slot, 2n, 5, 'too early\n', 'never'));
    sandbox.send(
      message.answer,
      Buffer.concat([answer(slot, 1n, 5, 'one\n', 'note1,'), answer(slot, 1n, 5, 'one again\n', 'never')]),
    );
    sandbox.send(
      message.answer,
      Buffer.concat([answer(slot, 2n, 5, 'two\n', 'note2,'), answer(slot, 1n, 5, 'one late\n')]),
    );
    sandbox.send(message.answer, answer(slot, 2n, 5, 'two again\n'));
    sandbox.send(message.answer, answer(4_000_000, 1n, 5, 'no such slot\n'));
    sandbox.send(message.answer, Buffer.from(Uint32Array.of(slot, 5, 3, 0, 0xffffffff, 0xffffffff).buffer));
    await sandbox.request(message.hello, [1]);
    expect(sandbox.slot(slot)).toMatchObject({ pmiOrders: 2n, pmiConsumed: 10n });
    const journal = sandbox.take(14);
    expect(native().readAll(journal, 1000).toString()).toBe('note1,note2,');
    expect(sandbox.journalLength).toBe(12n);
    native().close(journal);
    await sandbox.request(message.close, [slot, close.pmi]);
    const output = await readToEnd(sandbox.take(sandbox.slot(slot).fdStdout));
    expect(output.toString()).toBe('one\ntwo\n');
    expect((await sandbox.ended(slot)).waitStatus).toBe(0);
  });

  it('do not wait for a rank that never reads them', async () => {
    await using sandbox = Sandbox.launch();
    const { words } = await sandbox.start([{ argv: ['sleep', '1000'], pmi: true }]);
    const flood = 'x'.repeat(60_000);
    for (let order = 1n; order <= 100n; order++)
      await eventually(() => {
        try {
          sandbox.send(message.answer, answer(words[0]!, order, 0, flood));
          return true;
        } catch {
          return false;
        }
      }, 'room in the queue');
    expect((await sandbox.request(message.hello, [1])).result).toBe(0);
    expect(sandbox.slot(words[0]!)).toMatchObject({ pmiOrders: 100n, state: slotState.running });
  });
});

describe('a sandbox', () => {
  it('takes every descendant with it, whatever they did', async () => {
    let pidns: string;
    {
      await using sandbox = Sandbox.launch();
      pidns = readlinkSync(`/proc/${sandbox.pid}/ns/pid`);
      await sandbox.start([{ argv: ['sh', '-c', orphan], pmi: true }]);
      await sandbox.ended(0);
      await eventually(() => living(pidns).length === 3, 'two orphans and pid 1');
      await sandbox.request(message.hello, [1]);
      expect(sandbox).toMatchObject({ descendants: 1, running: 0 });
    }
    expect(living(pidns)).toEqual([]);
  });

  it('is emptied by KILL, ended by EXIT', async () => {
    const sandbox = Sandbox.launch();
    const pidns = readlinkSync(`/proc/${sandbox.pid}/ns/pid`);
    await sandbox.start([{ argv: ['sh', '-c', orphan] }]);
    await sandbox.ended(0);
    expect((await sandbox.request(message.kill)).result).toBe(0);
    await eventually(() => sandbox.descendants === 0, 'nobody but pid 1');
    expect(living(pidns)).toEqual([sandbox.pid]);
    sandbox.send(message.exit, new Uint8Array());
    await eventually(() => native().reap(sandbox.pidfd) !== null, 'end of pid 1');
    expect(living(pidns)).toEqual([]);
    sandbox.abandon();
  });

  it('outlives agents killed at random moments; what they sent is done once, what they read is there', async () => {
    const launched = Sandbox.launch([], 64);
    launched.abandon(); // one agent at a time
    const count = 80;
    const script = `i=0; while [ $i -lt ${count} ]; do i=$((i+1)); echo "line $i"; echo "req $i" >&3; read -r answer <&3; echo "$answer"; done`;
    const agent = new URL('agent-that-dies.ts', import.meta.url).pathname;
    let starts = 0;
    for (let done = false; !done; starts++) {
      // Each agent adopts the sandbox, repeats the same start and goes on with the answers, until it is killed.
      const child = spawn(process.execPath, [agent, String(launched.pid), String(count), script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), Math.random() * 4));
      await once(child, 'exit');
      const between = new Sandbox(launched.pid, 64);
      await between.request(message.hello, [1]);
      done = between.slotsUsed === 1 && between.slot(0).pmiOrders === BigInt(count);
      between.abandon();
      expect(starts).toBeLessThan(500);
    }
    await using sandbox = new Sandbox(launched.pid, 64);
    expect(starts).toBeGreaterThan(1);
    const slot = await sandbox.ended(0);
    expect(slot).toMatchObject({ waitStatus: 0, pmiOrders: BigInt(count) });
    const lines = Array.from({ length: count }, (_, i) => `line ${i + 1}\nanswer ${i + 1}\n`).join('');
    expect((await readToEnd(sandbox.take(slot.fdStdout))).toString()).toBe(lines);
    const journal = sandbox.take(14);
    expect(native().readAll(journal, 100_000).toString()).toBe(
      Array.from({ length: count }, (_, i) => `${i + 1};`).join(''),
    );
    native().close(journal);
    expect(sandbox.slotsUsed).toBe(1);
  });

  it('answers a successor although the unread replies of a dead agent fill the queue', async () => {
    const first = Sandbox.launch();
    const dead = native().packetSocket(first.take(11));
    dead.onPacket = null;
    const head = Buffer.alloc(36);
    writeHead(head);
    let sent = 0;
    while (sent < 200_000 && dead.send(head)) sent++;
    expect(sent).toBeGreaterThan(100);
    dead.close();
    first.abandon();
    await using second = new Sandbox(first.pid, 64);
    const hello = await eventually(() => {
      try {
        return second.request(message.hello, [1]);
      } catch {
        return undefined;
      }
    }, 'room in the queue');
    expect(hello.words).toEqual([1]);
    expect((await second.start([{ argv: ['true'] }])).result).toBe(0);
  });
});

function writeHead(head: Buffer): void {
  head.writeUInt32LE(0x5254534d, 0);
  head.writeUInt32LE(message.hello, 4);
  head.writeUInt32LE(4, 28);
  head.writeUInt32LE(1, 32);
}
