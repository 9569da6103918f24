import { describe, expect, it } from 'vitest';
import { encodeLogFrame } from '../wire/log-frames.ts';
import { LogLines } from './log-lines.ts';

const everyRank = 0xffffffff;
const frame = (
  rank: number,
  stream: number,
  text: string | Buffer,
  more: { end?: boolean; error?: boolean } = {},
) => encodeLogFrame({ rank, stream, offset: 0, end: false, error: false, bytes: Buffer.from(text), ...more });

describe('the end of the output', () => {
  it('is whole lines with their rank, from any pieces, also within a character', () => {
    const euro = Buffer.from('€\n');
    const wire = Buffer.concat([
      frame(3, 1, 'one\ntw'),
      frame(0, 2, 'oops\r\n'),
      frame(3, 1, 'o\n'),
      frame(1, 1, euro.subarray(0, 1)),
      frame(1, 1, euro.subarray(1)),
      frame(3, 1, 'no end', { end: true }),
      frame(0, 0, 'node1: gone', { error: true }),
    ]);
    for (const size of [1, 5, 1000]) {
      const log = new LogLines();
      for (let from = 0; from < wire.length; from += size) log.push(wire.subarray(from, from + size));
      expect(log.lines.map(({ rank, isError, text }) => [rank, isError, text])).toEqual([
        [3, false, 'one'],
        [0, true, 'oops'],
        [3, false, 'two'],
        [1, false, '€'],
        [3, false, 'no end'],
        [-1, true, 'node1: gone'],
      ]);
      expect(log.ended).toBe(false);
      log.push(frame(everyRank, 0, '', { end: true }));
      expect(log.ended).toBe(true);
    }
  });
  it('keeps the last lines only, and of a line without end the last part', () => {
    const log = new LogLines(10);
    for (let i = 0; i < 500; i++) log.push(frame(0, 1, `line ${i}\n`.repeat(50)));
    expect(log.lines.map(({ text }) => text)).toEqual(Array(10).fill('line 499'));
    for (let i = 0; i < 50; i++) log.push(frame(0, 1, 'y'.repeat(100_000)));
    log.push(frame(0, 1, '\n'));
    expect(log.lines.at(-1)?.text.length).toBeLessThanOrEqual(2000);
  });
  it('refuses a frame that no server of ours sends', () => {
    const header = Buffer.alloc(24);
    header.writeUInt32LE(0xfffffff0, 0);
    expect(() => new LogLines().push(header)).toThrow(/MUSTER_LOG_FRAME/);
  });
});
