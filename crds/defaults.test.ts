import fc from 'fast-check';
import { expect, it } from 'vitest';
import { withDefaults } from './defaults.ts';
import type { JsonSchema } from './definitions.ts';

const schema: JsonSchema = {
  type: 'object',
  properties: {
    a: { type: 'string', default: 'x' },
    inner: {
      type: 'object',
      default: {},
      properties: { b: { type: 'integer', default: 1 }, c: { type: 'string' } },
    },
    absent: { type: 'object', properties: { d: { type: 'integer', default: 2 } } },
    list: {
      type: 'array',
      items: { type: 'object', properties: { e: { type: 'boolean', default: false } } },
    },
    map: {
      type: 'object',
      additionalProperties: { type: 'object', properties: { f: { type: 'integer', default: 3 } } },
    },
  },
};

it.each([
  [{}, { a: 'x', inner: { b: 1 } }],
  [{ absent: {} }, { a: 'x', inner: { b: 1 }, absent: { d: 2 } }],
  [
    { a: null, inner: null, absent: null },
    { a: 'x', inner: { b: 1 } },
  ],
  [
    { a: '', inner: { b: 0, c: null } },
    { a: '', inner: { b: 0 } },
  ],
  [
    { list: [{}, { e: true }], map: { k: {} } },
    { a: 'x', inner: { b: 1 }, list: [{ e: false }, { e: true }], map: { k: { f: 3 } } },
  ],
  [
    { inner: 'wrong', list: 'wrong' },
    { a: 'x', inner: 'wrong', list: 'wrong' },
  ],
])('fills %j in', (given, filled) => {
  expect(withDefaults(schema, given)).toEqual(filled);
});

it('changes nothing the second time, and never what it was given', () => {
  const shape = fc.record(
    {
      a: fc.option(fc.string()),
      inner: fc.option(fc.record({ b: fc.option(fc.integer()) }, { requiredKeys: [] })),
      list: fc.array(fc.record({ e: fc.boolean() }, { requiredKeys: [] })),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(shape, (given) => {
      const before = structuredClone(given);
      const once = withDefaults<object>(schema, given);
      expect(given).toEqual(before);
      expect(withDefaults(schema, once)).toEqual(once);
      // Defaults are copies: changing one object does not change the next.
      (once as { inner: { b: number } }).inner.b = 99;
      expect(withDefaults(schema, {})).toEqual({ a: 'x', inner: { b: 1 } });
    }),
  );
});
