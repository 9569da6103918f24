import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeLogFrame,
  formatPositions,
  LogFrameReader,
  parsePositions,
  type LogFrame,
} from './log-frames.ts';

const frame = fc.record({
  rank: fc.integer({ min: 0, max: 0xffff_ffff }),
  stream: fc.constantFrom(1, 2),
  offset: fc.maxSafeNat(),
  end: fc.boolean(),
  error: fc.boolean(),
  bytes: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});

describe('log frames', () => {
  it('come out as they went in, however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(frame),
        fc.array(fc.integer({ min: 1, max: 97 }), { minLength: 1 }),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.map(encodeLogFrame));
          const reader = new LogFrameReader();
          const found: LogFrame[] = [];
          for (let at = 0, cut = 0; at < bytes.length; cut++) {
            const next = at + cuts[cut % cuts.length]!;
            found.push(...reader.push(bytes.subarray(at, next)));
            at = next;
          }
          expect(found).toEqual(frames);
        },
      ),
    );
  });

  it('refuse a length that no server sends', () => {
    const header = Buffer.alloc(24);
    header.writeUInt32LE(0xffff_ffff, 0);
    expect(() => new LogFrameReader().push(header)).toThrow('MUSTER_LOG_FRAME');
  });
});

describe('positions', () => {
  it('are read as they were written', () => {
    const positions = new Map([
      ['3.1', 4096],
      ['0.2', 0],
    ]);
    expect(parsePositions(formatPositions(positions))).toEqual([
      { rank: 3, stream: 1, offset: 4096 },
      { rank: 0, stream: 2, offset: 0 },
    ]);
    expect(parsePositions('')).toEqual([]);
  });

  it.each(['3', '3.3@1', 'x.1@2', '1.1@-1', '1.1@1,'])('refuse "%s"', (text) => {
    expect(() => parsePositions(text)).toThrow('MUSTER_LOG_POSITION');
  });
});
