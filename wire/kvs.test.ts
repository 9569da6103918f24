import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DeltaError,
  KeyValueSpace,
  bytesOf,
  checkDelta,
  decodeDelta,
  encodeDelta,
  joinDeltas,
  uniteDeltas,
} from './kvs.ts';

const latin1 = (min: number, max: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const delta = fc
  .array(fc.tuple(fc.oneof(latin1(1, 40), fc.constantFrom('a', 'b', 'c')), latin1(0, 300)), { maxLength: 20 })
  .map((pairs) => new Map(pairs));

describe('encoded deltas', () => {
  it('decode to what was encoded', () => {
    fc.assert(
      fc.property(delta, (puts) => {
        expect(decodeDelta(encodeDelta(puts))).toEqual(puts);
      }),
    );
  });

  it('spend at most four bytes on a short pair and five on the whole', () => {
    expect(encodeDelta(new Map([['key', 'v'.repeat(428)]])).length).toBe(5 + 3 + 428 + 3);
    expect(encodeDelta(new Map()).length).toBe(0);
  });

  it('laid end to end in any order are one delta, the smaller value of a key standing', () => {
    fc.assert(
      fc.property(delta, delta, (left, right) => {
        const one = decodeDelta(joinDeltas([encodeDelta(left), encodeDelta(right)]));
        const other = decodeDelta(joinDeltas([encodeDelta(right), encodeDelta(left)]));
        expect(new Map([...one].sort())).toEqual(new Map([...other].sort()));
        expect(decodeDelta(uniteDeltas([encodeDelta(left), encodeDelta(right), encodeDelta(left)]))).toEqual(
          one,
        );
      }),
    );
  });

  it('that are cut or changed are refused or are another delta, never another error', () => {
    fc.assert(
      fc.property(delta, fc.nat(), fc.nat(255), fc.nat(), (puts, place, byte, cut) => {
        const bytes = encodeDelta(puts);
        if (bytes.length > 0) bytes[place % bytes.length] = byte;
        const broken = bytes.subarray(0, bytes.length === 0 ? 0 : cut % (bytes.length + 1));
        let refused = false;
        try {
          checkDelta(broken);
        } catch (error) {
          expect(error).toBeInstanceOf(DeltaError);
          refused = true;
        }
        if (refused) expect(() => decodeDelta(broken)).toThrow(DeltaError);
        else expect(decodeDelta(broken)).toBeInstanceOf(Map);
      }),
    );
  });

  it.each([
    ['no chunk mark', Buffer.from([0])],
    ['a short header', Buffer.from([0xd1, 1, 0])],
    ['a body longer than the bytes', Buffer.from([0xd1, 9, 0, 0, 0, 1])],
    ['a length without end', Buffer.from([0xd1, 6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 1])],
    ['an empty key', Buffer.from([0xd1, 2, 0, 0, 0, 0, 0])],
    ['a pair longer than its chunk', Buffer.from([0xd1, 3, 0, 0, 0, 1, 9, 65])],
    ['a field of two megabytes', Buffer.from([0xd1, 5, 0, 0, 0, 0xff, 0xff, 0xff, 0x01, 0])],
  ])('with %s are refused', (_what, bytes) => {
    expect(() => decodeDelta(bytes)).toThrow(/malformed at byte \d+: expected/);
  });
});

describe('KeyValueSpace', () => {
  it('keeps what an earlier fence put, and the smaller value within one fence', () => {
    const space = new KeyValueSpace();
    space.add([new Map([['old', 'z']])]);
    space.add([
      new Map([['old', 'z']]),
      new Map([
        ['old', 'a'],
        ['new', 'y'],
      ]),
      new Map([
        ['old', 'b'],
        ['new', 'x'],
      ]),
    ]);
    expect(space.get('old')).toBe('z');
    expect(space.get('new')).toBe('x');
    expect(space.bytes).toBe(4 + 4);
  });

  it('ends the same whatever the order of the parts of a fence', () => {
    fc.assert(
      fc.property(fc.array(fc.array(delta, { maxLength: 4 }), { maxLength: 4 }), (fences) => {
        const [forth, back] = [new KeyValueSpace(), new KeyValueSpace()];
        for (const parts of fences) {
          forth.add(parts);
          back.add([...parts].reverse());
        }
        for (const key of fences.flat().flatMap((part) => [...part.keys()]))
          expect(forth.get(key)).toBe(back.get(key));
        expect(forth.bytes).toBe(back.bytes);
      }),
    );
  });

  it('counts bytes', () => {
    expect(bytesOf(new Map([['ab', 'cde']]))).toBe(5);
  });
});
