import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { applyPatch } from '../store/patch.ts';
import { mergePatchOf } from './three-way-merge.ts';

describe('mergePatchOf', () => {
  it('sets what is new, removes what only the last manifest said, leaves what others wrote', () => {
    const last = { spec: { a: 1, gone: true }, metadata: { labels: { x: '1', y: '2' } } };
    const wanted = { spec: { a: 2 }, metadata: { labels: { x: '1' } } };
    const current = {
      spec: { a: 1, gone: true, defaulted: 5 },
      metadata: { labels: { x: '1', y: '2', other: 'o' } },
    };
    expect(mergePatchOf(last, wanted, current)).toEqual({
      spec: { a: 2, gone: null },
      metadata: { labels: { y: null } },
    });
  });

  it('finds nothing to do for what stands already', () => {
    expect(
      mergePatchOf({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }, { a: [1, { b: 2 }], c: 1 }),
    ).toBeUndefined();
  });

  it('brings an object to the manifest, whatever both are (property)', () => {
    const leaf = fc.oneof(fc.integer(), fc.string(), fc.boolean(), fc.array(fc.integer()));
    const key = fc.constantFrom('a', 'b', 'c');
    const object = fc.dictionary(key, fc.oneof(leaf, fc.dictionary(key, leaf)));
    fc.assert(
      fc.property(object, object, (current, wanted) => {
        const patch = mergePatchOf({}, wanted, current);
        const merged = patch === undefined ? current : applyPatch(current, { type: 'merge', patch });
        expect(merged).toMatchObject(wanted);
      }),
    );
  });
});
