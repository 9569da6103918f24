/** The front program against a control plane and an agent played over real sockets. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native, type Packet, type PacketServer, type PacketSocket } from './index.ts';

const n = native();
const program = new URL('../../build/native/front', import.meta.url).pathname;
const type = {
  run: 1,
  signal: 2,
  stdin: 3,
  attach: 4,
  text: 16,
  job: 17,
  sandbox: 18,
  data: 19,
  suspended: 20,
  done: 21,
  window: 22,
  open: 32,
  input: 33,
  stream: 48,
  grew: 49,
  inputFd: 50,
  inputWindow: 53,
  ended: 51,
} as const;

/** u32 unless a bigint (u64) or a string. */
function encode(...parts: (number | bigint | string | Buffer)[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part);
      if (Buffer.isBuffer(part)) return part;
      const bytes = Buffer.alloc(typeof part === 'bigint' ? 8 : 4);
      if (typeof part === 'bigint') bytes.writeBigUInt64LE(part);
      else bytes.writeInt32LE(part | 0);
      return bytes;
    }),
  );
}

/** A listening socket; connections and packets are taken in order by whoever waits for them. */
class Side {
  readonly #server: PacketServer;
  readonly #arrived: PacketSocket[] = [];
  readonly #packets: Packet[] = [];
  #wake: () => void = () => undefined;
  socket: PacketSocket | undefined;

  constructor(path: string) {
    this.#server = n.listenPacket(path, 0o600);
    this.#server.onConnection = (socket) => {
      this.#arrived.push(socket);
      socket.onPacket = (packet) => {
        this.#packets.push(packet);
        this.#wake();
      };
      this.#wake();
    };
  }
  async #until<T>(take: () => T | undefined): Promise<T> {
    for (;;) {
      const value = take();
      if (value !== undefined) return value;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
  async accept(): Promise<PacketSocket> {
    this.socket = await this.#until(() => this.#arrived.shift());
    return this.socket;
  }
  /** The next packet, which has to be of this type: its body. */
  async expect(expected: number): Promise<{ body: Buffer; fds: number[] }> {
    const packet = await this.#until(() => this.#packets.shift());
    expect(packet.bytes.readUInt32LE(0)).toBe(expected);
    return { body: packet.bytes.subarray(4), fds: packet.fds };
  }
  send(...parts: (number | bigint | string | Buffer)[]): void {
    expect(this.socket!.send(encode(...parts))).toBe(true);
  }
  sendFd(fd: number, ...parts: (number | bigint | string | Buffer)[]): void {
    expect(this.socket!.send(encode(...parts), [fd])).toBe(true);
    n.close(fd);
  }
  /** As if killed: no connection, no listener. */
  close(): void {
    this.socket?.close();
    this.#server.close();
  }
}

let home = '';
let control: Side;
let agent: Side;
let child: ChildProcess;
let stdout = '';
let stderr = '';
const agentPath = (): string => join(home, 'run', 'agent.sock');
const controlPath = (): string => join(home, 'run', 'front.sock');

beforeEach(() => {
  home = fs.mkdtempSync(join(tmpdir(), 'muster-front-'));
  fs.mkdirSync(join(home, 'run'));
  control = new Side(controlPath());
  agent = new Side(agentPath());
  stdout = '';
  stderr = '';
});
afterEach(() => {
  child.kill('SIGKILL');
  control.close();
  agent.close();
  fs.rmSync(home, { recursive: true });
});

function start(
  args: string[] = ['run', 'prog'],
  argv0 = 'muster',
  stdin: 'pipe' | 'ignore' = 'ignore',
): void {
  child = spawn(program, args, {
    argv0,
    cwd: home,
    env: { MUSTER_HOME: home, WORD: 'ä' },
    stdio: [stdin, 'pipe', 'pipe'],
  });
  child.stdout!.on('data', (bytes: Buffer) => (stdout += bytes.toString('latin1')));
  child.stderr!.on('data', (bytes: Buffer) => (stderr += bytes.toString('latin1')));
}
const exited = async (): Promise<[number | null, string | null]> =>
  (await once(child, 'close')) as [number | null, string | null];

/** A segment file with these bytes; a read-only descriptor of it. */
function segment(name: string, bytes: string): number {
  fs.appendFileSync(join(home, name), bytes, 'latin1');
  return fs.openSync(join(home, name), 'r');
}

async function accepted(labels = 0): Promise<Buffer> {
  await control.accept();
  const { fds } = await control.expect(type.run);
  const request = n.readAll(fds[0]!, 1 << 22);
  n.close(fds[0]!);
  control.send(type.job, `uid-1 name-1 token-1 ${labels}`);
  return request;
}
async function sandbox(flags = 0): Promise<void> {
  control.send(type.sandbox, 0, 1, flags, agentPath());
  await agent.accept();
  expect((await agent.expect(type.open)).body.toString()).toBe('uid-1 0 1 token-1');
}

describe('muster run', () => {
  it('hands over what it was called with and ends with the code and the text of the job', async () => {
    start(['-n', '4', './a b'], 'mpiexec');
    const request = await accepted();
    expect(request.readUInt32LE(0)).toBe(0x46545352);
    const argc = request.readUInt32LE(8);
    const envc = request.readUInt32LE(12);
    const limits = request.readUInt32LE(28);
    const strings = request
      .subarray(32 + limits * 24)
      .toString()
      .split('\0');
    expect(strings.slice(0, argc)).toEqual(['run', '-n', '4', './a b']);
    expect(strings.slice(argc, argc + envc).sort()).toEqual([`MUSTER_HOME=${home}`, 'WORD=ä']);
    expect(strings[argc + envc]).toBe(fs.realpathSync(home));
    control.send(type.text, 1, 'shown\n');
    control.send(type.done, 42, 0, 'rank 3 failed');
    expect(await exited()).toEqual([42, null]);
    expect(stdout).toBe('shown\n');
    expect(stderr).toBe('rank 3 failed\n');
  });

  it('copies segments in order, also when growth is told before the segment', async () => {
    start();
    await accepted();
    await sandbox();
    agent.send(type.grew, 5, 1, 11n);
    agent.sendFd(segment('one', 'hello '), type.stream, 5, 0, 1, 0, 0n);
    agent.sendFd(segment('two', 'world'), type.stream, 5, 0, 1, 0, 6n);
    agent.sendFd(segment('err', 'oops'), type.stream, 6, 0, 2, 0, 0n);
    agent.send(type.grew, 6, 1, 4n);
    agent.send(type.ended);
    control.send(type.done, 0, 1);
    expect(await exited()).toEqual([0, null]);
    expect(stdout).toBe('hello world');
    expect(stderr).toBe('oops');
  });

  it('waits at the end for the output that agents still have to tell', async () => {
    start();
    await accepted();
    await sandbox();
    control.send(type.done, 0, 1);
    agent.sendFd(segment('one', 'late'), type.stream, 1, 0, 1, 0, 0n);
    agent.send(type.grew, 1, 1, 4n);
    agent.send(type.ended);
    expect(await exited()).toEqual([0, null]);
    expect(stdout).toBe('late');
  });

  it('says so when an agent does not tell its end within 5 s', async () => {
    start();
    await accepted();
    await sandbox();
    agent.close();
    control.send(type.done, 3, 1);
    expect(await exited()).toEqual([3, null]);
    expect(stderr).toContain('may be incomplete');
  });

  it('labels whole lines, however they were cut, and ends an unfinished last line', async () => {
    start();
    await accepted(1);
    await sandbox();
    const long = 'l'.repeat(200_000);
    for (const rank of [0, 1]) {
      agent.sendFd(segment(`r${rank}`, `first of ${rank}\nsec`), type.stream, rank, rank, 1, 0, 0n);
      agent.send(type.grew, rank, 0, 14n);
      agent.send(type.grew, rank, 0, 15n);
      fs.appendFileSync(join(home, `r${rank}`), `ond\n${long}\n\nlast`);
      agent.send(type.grew, rank, 1, BigInt(20 + long.length + 1 + 4 - 1));
    }
    agent.send(type.ended);
    control.send(type.done, 0, 1);
    expect(await exited()).toEqual([0, null]);
    const lines = stdout.split('\n');
    expect(lines.pop()).toBe('');
    for (const rank of [0, 1]) {
      expect(lines.filter((line) => line.startsWith(`[${rank}] `)).map((line) => line.slice(4))).toEqual([
        `first of ${rank}`,
        'second',
        long,
        '',
        'last',
      ]);
    }
    expect(lines).toHaveLength(10);
  });

  it('loses and doubles nothing when the agent goes away and comes back with other numbers', async () => {
    start();
    await accepted();
    await sandbox();
    agent.sendFd(segment('one', 'abc'), type.stream, 1, 0, 1, 0, 0n);
    agent.send(type.grew, 1, 0, 3n);
    await once(child.stdout!, 'data');
    agent.close();
    fs.appendFileSync(join(home, 'one'), 'def');
    agent = new Side(agentPath());
    await agent.accept();
    expect((await agent.expect(type.open)).body.toString()).toBe('uid-1 0 1 token-1');
    agent.send(type.grew, 9, 1, 9n);
    agent.sendFd(segment('one', ''), type.stream, 9, 0, 1, 0, 0n);
    agent.sendFd(segment('two', 'ghi'), type.stream, 9, 0, 1, 0, 6n);
    agent.send(type.ended);
    control.send(type.done, 0, 1);
    expect(await exited()).toEqual([0, null]);
    expect(stdout).toBe('abcdefghi');
  });

  it('attaches again to a control plane that was away, and then says the signals of the meantime', async () => {
    start();
    await accepted();
    control.send(type.text, 1, 'up\n');
    await once(child.stdout!, 'data');
    control.close();
    child.kill('SIGUSR1');
    control = new Side(controlPath());
    await control.accept();
    const { body } = await control.expect(type.attach);
    expect(body.readBigUInt64LE(0)).toBe(BigInt(body.length - 8));
    expect(body.subarray(8).toString()).toBe('uid-1 token-1');
    expect((await control.expect(type.signal)).body.readInt32LE(0)).toBe(10);
    control.send(type.done, 0, 0);
    expect(await exited()).toEqual([0, null]);
  });

  it('asks again, with the same key, when the control plane went away before it had accepted the job', async () => {
    start(['run', 'prog', 'one']);
    await control.accept();
    const asked = await control.expect(type.run);
    const request = n.readAll(asked.fds[0]!, 1 << 22);
    n.close(asked.fds[0]!);
    expect(asked.body.toString()).toMatch(/^[0-9a-f]{32} 0$/);
    control.close();
    control = new Side(controlPath());
    await control.accept();
    const again = await control.expect(type.run);
    expect(again.body.toString()).toBe(asked.body.toString().replace(/0$/, '1'));
    expect(n.readAll(again.fds[0]!, 1 << 22)).toEqual(request);
    n.close(again.fds[0]!);
    control.send(type.job, 'uid-1 name-1 token-1 0');
    control.send(type.done, 0, 0);
    expect(await exited()).toEqual([0, null]);
    expect(stderr).toBe('');
  });

  it('asks again for the end of the job, of which a killed control plane may know nothing', async () => {
    start();
    await accepted();
    control.send(type.text, 1, 'up\n');
    await once(child.stdout!, 'data');
    child.kill('SIGINT');
    expect((await control.expect(type.signal)).body.readInt32LE(0)).toBe(2);
    control.close();
    control = new Side(controlPath());
    await control.accept();
    await control.expect(type.attach);
    expect((await control.expect(type.signal)).body.readInt32LE(0)).toBe(2);
    control.send(type.done, 130, 0);
    expect(await exited()).toEqual([130, null]);
  });

  it('takes relayed output by offset: twice told, once shown', async () => {
    start();
    await accepted();
    control.send(type.data, 2, 1, 0n, 'relayed ');
    control.send(type.data, 2, 1, 0n, 'relayed out');
    control.send(type.data, 2, 1, 11n, 'put\n');
    control.send(type.done, 0, 0);
    expect(await exited()).toEqual([0, null]);
    expect(stdout).toBe('relayed output\n');
  });

  it('passes signals on, and ends as SIGPIPE does when nobody reads its output', async () => {
    start();
    await accepted();
    await sandbox();
    child.kill('SIGINT');
    expect((await control.expect(type.signal)).body.readInt32LE(0)).toBe(2);
    child.stdout!.destroy();
    agent.sendFd(segment('one', 'unread'), type.stream, 1, 0, 1, 0, 0n);
    agent.send(type.grew, 1, 0, 6n);
    expect((await control.expect(type.signal)).body.readInt32LE(0)).toBe(15);
    expect(await exited()).toEqual([141, null]);
  });

  it('stops itself once the job is suspended, and resumes it when continued', async () => {
    start();
    await accepted();
    child.kill('SIGTSTP');
    expect((await control.expect(type.signal)).body.readInt32LE(0)).toBe(20);
    control.send(type.suspended);
    const state = (): string => /\) (\S)/.exec(fs.readFileSync(`/proc/${child.pid}/stat`, 'utf8'))![1]!;
    await expect.poll(state, { timeout: 5000 }).toBe('T');
    child.kill('SIGCONT');
    expect((await control.expect(type.signal)).body.readInt32LE(0)).toBe(18);
    control.send(type.done, 0, 0);
    expect(await exited()).toEqual([0, null]);
  });

  it('appends stdin to the spool of this machine and tells its end, within the window only', async () => {
    start(['run', 'prog'], 'muster', 'pipe');
    await accepted();
    await sandbox(1);
    const spool = join(home, 'spool');
    const text = 'input '.repeat(100_000);
    child.stdin!.end(text);
    agent.sendFd(fs.openSync(spool, 'a', 0o600), type.inputFd, 0n, 100_000n);
    for (let told = 0n, window = 100_000n; ;) {
      const { body } = await agent.expect(type.input);
      told = body.readBigUInt64LE(0);
      expect(told).toBeLessThanOrEqual(window);
      if (told === window) agent.send(type.inputWindow, (window += 100_000n));
      if (body.readUInt32LE(8) === 1) {
        expect(body.readBigUInt64LE(0)).toBe(BigInt(text.length));
        break;
      }
    }
    expect(fs.readFileSync(spool, 'utf8')).toBe(text);
    control.send(type.done, 0, 0);
    expect(await exited()).toEqual([0, null]);
  });

  it('relays stdin within the window only', async () => {
    start(['run', 'prog'], 'muster', 'pipe');
    await accepted();
    const text = 'relay '.repeat(20_000);
    child.stdin!.end(text);
    let got = '';
    for (let window = 50_000n; ; window += 50_000n) {
      control.send(type.window, window, 0n);
      let ended = false;
      while (got.length < Math.min(Number(window), text.length)) {
        const { body } = await control.expect(type.stdin);
        expect(body.readBigUInt64LE(0)).toBe(BigInt(got.length));
        got += body.subarray(8).toString();
        expect(got.length).toBeLessThanOrEqual(Number(window));
      }
      if (got.length === text.length) {
        const { body } = await control.expect(type.stdin);
        expect(body.length).toBe(8);
        ended = true;
      }
      if (ended) break;
    }
    expect(got).toBe(text);
    control.send(type.done, 0, 0);
    expect(await exited()).toEqual([0, null]);
  });

  /** Its ranks have `one two three` of what was given in a spool of this machine. */
  async function given(): Promise<void> {
    start(['run', 'prog'], 'muster', 'pipe');
    await accepted();
    await sandbox(1);
    agent.sendFd(fs.openSync(join(home, 'spool'), 'a+', 0o600), type.inputFd, 0n, 1000n);
    child.stdin!.write('one two three');
    expect((await agent.expect(type.input)).body.readBigUInt64LE(0)).toBe(13n);
  }

  it('gives ranks that have moved within its machine what they did not take along', async () => {
    await given();
    const other = new Side(join(home, 'run', 'other.sock'));
    try {
      control.send(type.sandbox, 0, 2, 1, join(home, 'run', 'other.sock'));
      await other.accept();
      expect((await other.expect(type.open)).body.toString()).toBe('uid-1 0 2 token-1');
      fs.writeFileSync(join(home, 'theirs'), 'one ');
      other.sendFd(fs.openSync(join(home, 'theirs'), 'a+'), type.inputFd, 4n, 1000n);
      expect((await other.expect(type.input)).body.readBigUInt64LE(0)).toBe(13n);
      expect(fs.readFileSync(join(home, 'theirs'), 'utf8')).toBe('one two three');
      child.stdin!.end(' four');
      let end = 0;
      while (end === 0) end = (await other.expect(type.input)).body.readUInt32LE(8);
      expect(fs.readFileSync(join(home, 'theirs'), 'utf8')).toBe('one two three four');
    } finally {
      other.close();
    }
    control.send(type.done, 0, 0);
    expect(await exited()).toEqual([0, null]);
  });

  it('relays to ranks that have left its machine what they did not take along, and what comes then', async () => {
    await given();
    control.send(type.sandbox, 0, 2, 0, '');
    const relayed = async (offset: bigint, text: string): Promise<void> => {
      const { body } = await control.expect(type.stdin);
      expect([body.readBigUInt64LE(0), body.subarray(8).toString()]).toEqual([offset, text]);
    };
    control.send(type.window, 1000n, 4n);
    await relayed(4n, 'two three');
    child.stdin!.end(' four');
    control.send(type.window, 1000n, 13n);
    await relayed(13n, ' four');
    await relayed(18n, '');
    control.send(type.done, 0, 0);
    expect(await exited()).toEqual([0, null]);
  });

  it('does not trust what it is told', async () => {
    start();
    await accepted();
    await sandbox();
    // Streams without end, sizes out of range, cut packets: the connection is dropped, the front lives.
    for (const bad of [
      encode(type.grew, 1, 0),
      encode(type.stream, 1, 0, 1, 0, 0n),
      encode(type.inputFd, 1n, 100n),
    ]) {
      agent.socket!.send(bad);
      await agent.accept();
      await agent.expect(type.open);
    }
    agent.sendFd(segment('one', 'fine'), type.stream, 1, 0, 1, 0, 0n);
    agent.send(type.grew, 1, 0, 4n);
    agent.send(type.ended);
    control.send(type.done, 0, 1);
    expect(await exited()).toEqual([0, null]);
    expect(stdout).toBe('fine');
  });
});

describe('everything else', () => {
  it('is done by the program in Node of its checkout', async () => {
    fs.mkdirSync(join(home, 'bin'));
    fs.mkdirSync(join(home, 'build', 'dist'), { recursive: true });
    fs.copyFileSync(program, join(home, 'bin', 'muster'));
    fs.writeFileSync(
      join(home, 'build', 'dist', 'muster.mjs'),
      'console.log(process.argv.slice(2).join(" "));',
    );
    child = spawn(join(home, 'bin', 'muster'), ['get', 'pg'], {
      env: { MUSTER_HOME: home, MUSTER_NODE: process.execPath },
    });
    child.stdout!.on('data', (bytes: Buffer) => (stdout += bytes.toString()));
    expect(await exited()).toEqual([0, null]);
    expect(stdout).toBe('get pg\n');
  });

  it('says what to do where nothing is built', async () => {
    fs.copyFileSync(program, join(home, 'muster'));
    child = spawn(join(home, 'muster'), ['version'], { env: {} });
    child.stderr!.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
    expect(await exited()).toEqual([126, null]);
    expect(stderr).toContain('run "make build"');
  });
});
