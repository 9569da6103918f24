import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FromClient } from '../wire/attach-frames.ts';
import { KeptInput } from './kept-input.ts';

/** A server's end: what it has been given, from `base` on. */
class Spool {
  readonly base: number;
  bytes = Buffer.alloc(0);
  ended = false;
  constructor(base: number) {
    this.base = base;
  }
  get length(): number {
    return this.base + this.bytes.length;
  }
  take(message: FromClient): void {
    if (message.kind === 'input') {
      expect(message.offset).toBeLessThanOrEqual(this.length);
      this.bytes = Buffer.concat([this.bytes, message.bytes.subarray(this.length - message.offset)]);
    } else if (message.kind === 'inputEnd') {
      expect(message.length).toBe(this.length);
      this.ended = true;
    }
  }
}

describe('kept input', () => {
  it('sends nothing before it is told where the ranks stand', () => {
    const input = new KeptInput();
    input.push(Buffer.from('abc'));
    expect(input.take()).toEqual([]);
    input.window(10, 12);
    expect(input.take()).toEqual([{ kind: 'input', offset: 10, bytes: Buffer.from('ab') }]);
    input.window(12, 100);
    input.end();
    expect(input.take()).toEqual([
      { kind: 'input', offset: 12, bytes: Buffer.from('c') },
      { kind: 'inputEnd', length: 13 },
    ]);
    expect(input.isDone).toBe(false);
    input.window(13, 100);
    expect(input.isDone).toBe(true);
  });

  it('says so when the server has lost what was safe', () => {
    const input = new KeptInput();
    input.push(Buffer.from('abc'));
    input.window(5, 50);
    input.take();
    input.window(8, 50);
    input.disconnected();
    expect(() => input.window(6, 50)).toThrow(/MUSTER_INPUT_LOST/);
  });

  it('says so when somebody else has written meanwhile', () => {
    const input = new KeptInput();
    input.window(5, 50);
    input.disconnected();
    expect(() => input.window(9, 50)).toThrow(/MUSTER_INPUT_LOST: somebody else/);
  });

  it('brings every byte across once, whenever connections are cut and whatever is lost with them', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('push' as const),
        bytes: fc.uint8Array({ minLength: 1, maxLength: 50 }),
      }),
      fc.record({ kind: fc.constant('window' as const), more: fc.nat(40) }),
      fc.record({ kind: fc.constant('send' as const), arrive: fc.nat(3) }),
      fc.record({ kind: fc.constant('cut' as const) }),
    );
    fc.assert(
      fc.property(fc.nat(1000), fc.array(step, { maxLength: 60 }), (base, steps) => {
        const input = new KeptInput();
        const spool = new Spool(base);
        const given: Buffer[] = [];
        let lost = false;
        for (const one of steps) {
          if (one.kind === 'push') {
            given.push(Buffer.from(one.bytes));
            input.push(Buffer.from(one.bytes));
          } else if (one.kind === 'window' && !lost) input.window(spool.length, spool.length + one.more);
          else if (one.kind === 'send' && !lost) {
            const messages = input.take();
            for (const message of messages.slice(0, one.arrive)) spool.take(message);
            // What does not arrive is lost with its connection, and so is all that follows on it.
            lost = one.arrive < messages.length;
          } else if (one.kind === 'cut') {
            input.disconnected();
            lost = false;
          }
        }
        input.disconnected();
        input.end();
        input.window(spool.length, Number.MAX_SAFE_INTEGER);
        for (const message of input.take()) spool.take(message);
        expect(spool.bytes).toEqual(Buffer.concat(given));
        expect(spool.ended).toBe(true);
      }),
    );
  });
});
