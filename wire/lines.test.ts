import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LabelledLines } from './lines.ts';

const labelOf = (rank: number): string => `[${String(rank)}] `;
const feed = (lines: LabelledLines, writes: readonly (readonly [number, string])[]): string =>
  writes.map(([rank, text]) => lines.push(rank, Buffer.from(text)).toString()).join('');

describe('LabelledLines', () => {
  it('labels every line and tears none', () => {
    const lines = new LabelledLines({ labelOf });
    expect(
      feed(lines, [
        [0, 'hel'],
        [1, 'one\ntwo\nth'],
        [0, 'lo\n'],
        [1, 'ree\n'],
        [0, '\n\n'],
      ]),
    ).toBe('[1] one\n[1] two\n[0] hello\n[1] three\n[0] \n[0] \n');
  });

  it('gives the last line without end as it is', () => {
    const lines = new LabelledLines({ labelOf });
    expect(feed(lines, [[0, 'a\nb']])).toBe('[0] a\n');
    expect(lines.heldBytes).toBe(1);
    expect(lines.end(0).toString()).toBe('[0] b');
    expect(lines.end(0).toString()).toBe('');
    expect(feed(lines, [[1, 'c\n']])).toBe('\n[1] c\n');
  });

  it('continues a flushed line, or begins anew when another wrote in between', () => {
    const lines = new LabelledLines({ labelOf });
    lines.push(0, Buffer.from('name? '));
    expect(lines.flush(0).toString()).toBe('[0] name? ');
    expect(feed(lines, [[0, 'yes\n']])).toBe('yes\n');
    lines.push(0, Buffer.from('more? '));
    expect(lines.flush(0).toString()).toBe('[0] more? ');
    expect(
      feed(lines, [
        [1, 'hi\n'],
        [0, 'no\n'],
      ]),
    ).toBe('\n[1] hi\n[0] no\n');
  });

  it('cuts a very long line into pieces that nobody interrupts', () => {
    const lines = new LabelledLines({ labelOf, lineBytes: 10 });
    expect(
      feed(lines, [
        [0, 'x'.repeat(8)],
        [1, 'hi\n'],
        [0, 'x'.repeat(8)],
        [0, 'x'.repeat(20)],
        [1, 'ho\n'],
        [0, 'end\n'],
      ]),
    ).toBe(`[1] hi\n[0] ${'x'.repeat(36)}\n[1] ho\n[0] end\n`);
    expect(lines.heldBytes).toBe(0);
  });

  it('without labels passes whole lines', () => {
    const lines = new LabelledLines({ labelOf: () => '' });
    expect(
      feed(lines, [
        [0, 'a'],
        [1, 'b\n'],
        [0, 'c\n'],
      ]),
    ).toBe('b\nac\n');
  });

  it('loses no byte, doubles none and holds at most its bound, whatever is written in whatever pieces', () => {
    const writes = fc.array(
      fc.tuple(
        fc.nat(3),
        fc.string({ unit: fc.constantFrom('a', 'b', '\n', 'é'), maxLength: 40 }),
        fc.boolean(),
      ),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(writes, fc.integer({ min: 1, max: 30 }), (steps, lineBytes) => {
        const lines = new LabelledLines({ labelOf, lineBytes });
        const wrote = ['', '', '', ''];
        const out: Buffer[] = [];
        for (const [rank, text, flush] of steps) {
          wrote[rank] += text;
          out.push(lines.push(rank, Buffer.from(text)));
          if (flush) out.push(lines.flush(rank));
          expect(lines.heldBytes).toBeLessThanOrEqual(4 * lineBytes);
        }
        for (let rank = 0; rank < 4; rank++) out.push(lines.end(rank));
        const read = ['', '', '', ''];
        for (const line of Buffer.concat(out)
          .toString()
          .split(/(?<=\n)/)) {
          if (line === '') continue;
          const match = /^\[([0-3])\] ([^]*)$/.exec(line);
          expect(match, `unlabelled ${JSON.stringify(line)}`).not.toBeNull();
          read[Number(match?.[1])] += match?.[2] ?? '';
        }
        // Newlines are only ever added, where another source cut in on a line that had been given out unended.
        for (let rank = 0; rank < 4; rank++) {
          expect(read[rank]?.replaceAll('\n', '')).toBe(wrote[rank]?.replaceAll('\n', ''));
          expect(read[rank]?.length).toBeGreaterThanOrEqual(wrote[rank]?.length ?? 0);
        }
      }),
      { numRuns: 500 },
    );
  });
});
