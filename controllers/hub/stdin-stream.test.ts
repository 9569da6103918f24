import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Chunk } from '../../wire/agent-types.ts';
import type { StreamCall } from '../../wire/load.ts';
import { keptBytes, nobodyReads, StdinStream, type StdinTarget } from './stdin-stream.ts';

/** An agent that writes down what it is sent, says what it likes, and breaks when told to. */
class Agent {
  spool = Buffer.alloc(0);
  ended = false;
  opened = 0;
  window = 1 << 20;
  #call: PassThrough | undefined;
  /** Bytes sent that must not reach the spool: lost with the connection. */
  deaf = false;

  readonly target: StdinTarget = {
    open: () => {
      this.opened++;
      const call = new PassThrough({ objectMode: true });
      this.#call = call;
      const stream = Object.assign(call, {});
      const write = (chunk: { offset: number; data: Buffer; end: boolean }): boolean => {
        if (this.deaf || this.#call !== call) return true;
        expect(chunk.offset, 'a gap').toBeLessThanOrEqual(this.spool.length);
        this.spool = Buffer.concat([this.spool, chunk.data.subarray(this.spool.length - chunk.offset)]);
        if (chunk.end) this.ended = true;
        return true;
      };
      const both = new Proxy(stream, {
        get: (of, name) => {
          if (name === 'write') return write;
          const value: unknown = Reflect.get(of, name);
          return typeof value === 'function' ? (value as () => unknown).bind(of) : value;
        },
      });
      return Promise.resolve({ call: both as unknown as StreamCall, first: this.#chunk(), streamId: 1 });
    },
    again: () => Promise.resolve(!this.gone),
  };
  gone = false;

  #chunk(more: Partial<Chunk> = {}): Chunk {
    return {
      streamId: 1,
      rank: 0,
      stream: 0,
      offset: this.spool.length,
      data: Buffer.alloc(0),
      end: false,
      error: '',
      window: this.window,
      allEnded: false,
      ...more,
    } as Chunk;
  }

  /** Says how much is safe and what may be sent. */
  tell(more: Partial<Chunk> = {}): void {
    this.#call?.push(this.#chunk(more));
  }

  breakOff(): void {
    this.#call?.destroy(new Error('broken'));
  }
}

const text = (length: number, from = 0): Buffer =>
  Buffer.from(Array.from({ length }, (_, index) => (from + index) & 255));

describe('StdinStream', () => {
  let over: AbortController;
  beforeEach(() => {
    over = new AbortController();
  });
  afterEach(() => over.abort());
  const streamTo = (...agents: Agent[]): StdinStream =>
    new StdinStream(
      agents.map((agent) => agent.target),
      over.signal,
    );
  const until = (holds: () => void): Promise<void> => vi.waitFor(holds, { timeout: 5000, interval: 1 });

  it('gives no window before an agent has said what it can take', async () => {
    const agent = new Agent();
    const stream = streamTo(agent);
    expect(stream.window).toBe(0);
    await stream.windowMoved;
    expect(stream.window).toBe(keptBytes);
  });

  it('never lets more be sent than can be sent again', async () => {
    const agent = new Agent();
    const stream = streamTo(agent);
    await stream.windowMoved;
    stream.write(0, text(1000));
    expect(stream.window).toBe(keptBytes);
    await until(() => expect(agent.spool.length).toBe(1000));
    agent.tell();
    await until(() => expect(stream.window).toBe(1000 + keptBytes));
    agent.window = 5000;
    agent.tell();
    expect(stream.window).toBeGreaterThan(5000); // a window never shrinks
  });

  it('sends again what a lost connection took with it, each byte once, and the end', async () => {
    const agent = new Agent();
    const stream = streamTo(agent);
    await stream.windowMoved;
    stream.write(0, text(300));
    await until(() => expect(agent.spool.length).toBe(300));
    agent.tell();
    agent.deaf = true;
    stream.write(300, text(200, 300));
    stream.write(500, Buffer.alloc(0), true);
    agent.deaf = false;
    agent.breakOff();
    await until(() => expect(agent.ended).toBe(true));
    expect(agent.opened).toBe(2);
    expect(agent.spool.equals(text(500))).toBe(true);
  });

  it('takes what it has already only once, and refuses a gap', async () => {
    const agent = new Agent();
    const stream = streamTo(agent);
    await stream.windowMoved;
    stream.write(0, text(100));
    stream.write(50, text(100, 50));
    await until(() => expect(agent.spool.equals(text(150))).toBe(true));
    expect(() => stream.write(151, text(1))).toThrow('MUSTER_STDIN_GAP: expected offset 150, got 151');
  });

  it('waits for the slowest of several', async () => {
    const [fast, slow] = [new Agent(), new Agent()];
    slow.window = 10;
    const stream = streamTo(fast, slow);
    await until(() => expect(stream.window).toBe(10));
    stream.write(0, text(10));
    await until(() => expect(slow.spool.length).toBe(10));
    fast.tell();
    expect(stream.window).toBe(10);
    slow.window = 20;
    slow.tell();
    await until(() => expect(stream.window).toBe(20));
  });

  it('says that nobody reads once every reader has gone, by its own word or for good', async () => {
    const [one, other] = [new Agent(), new Agent()];
    const stream = streamTo(one, other);
    await until(() => expect(stream.window).toBe(keptBytes));
    one.tell({ window: nobodyReads });
    await until(() => expect(stream.window).toBe(keptBytes));
    other.gone = true;
    other.breakOff();
    await until(() => expect(stream.window).toBe(nobodyReads));
  });
});
