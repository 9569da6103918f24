import { describe, expect, it } from 'vitest';
import { checkCel } from './cel.ts';
import type { JsonSchema } from './definitions.ts';

const rule = (text: string, more = {}) => ({
  'x-kubernetes-validations': [{ rule: text, message: 'wrong', ...more }],
});
const list = (items: JsonSchema, keys?: string[]): JsonSchema => ({
  type: 'array',
  items,
  'x-kubernetes-list-type': keys ? 'map' : 'atomic',
  ...(keys ? { 'x-kubernetes-list-map-keys': keys } : {}),
});
const object = (properties: Record<string, JsonSchema>, more = {}): JsonSchema => ({
  type: 'object',
  properties,
  ...more,
});
const fixed = object({ name: { type: 'string' }, n: { type: 'integer' } }, rule('self.n == oldSelf.n'));

describe('checkCel', () => {
  it('follows items of keyed lists by their key, and says where they are now', () => {
    const schema = object({ list: list(fixed, ['name']) });
    const before = {
      list: [
        { name: 'a', n: 1 },
        { name: 'b', n: 2 },
      ],
    };
    expect(
      checkCel(
        schema,
        {
          list: [
            { name: 'b', n: 2 },
            { name: 'a', n: 1 },
          ],
        },
        before,
      ),
    ).toEqual([]);
    expect(
      checkCel(
        schema,
        {
          list: [
            { name: 'c', n: 9 },
            { name: 'b', n: 3 },
          ],
        },
        before,
      ),
    ).toEqual([{ field: 'list[1]', message: 'wrong', reason: 'FieldValueInvalid' }]);
  });

  it('compares no items of atomic lists, as the API server does not', () => {
    expect(checkCel(object({ list: list(fixed) }), { list: [{ n: 1 }] }, { list: [{ n: 2 }] })).toEqual([]);
  });

  it('runs transition rules on updates of what was there before only', () => {
    const schema = object({ inner: fixed });
    expect(checkCel(schema, { inner: { n: 1 } })).toEqual([]);
    expect(checkCel(schema, { inner: { n: 1 } }, {})).toEqual([]);
    expect(checkCel(schema, {}, { inner: { n: 1 } })).toEqual([]);
    expect(checkCel(schema, { inner: { n: 1 } }, { inner: { n: 2 } })).toHaveLength(1);
  });

  it('visits the values of maps, and points where the rule says', () => {
    const schema: JsonSchema = {
      type: 'object',
      additionalProperties: object(
        {},
        rule('has(self.x)', { fieldPath: '.x', reason: 'FieldValueRequired' }),
      ),
    };
    expect(checkCel(schema, { 'a.b/c': {} })).toEqual([
      { field: '[a.b/c].x', message: 'wrong', reason: 'FieldValueRequired' },
    ]);
  });

  it('takes a rule that cannot be evaluated for an error, never for consent', () => {
    const [error] = checkCel(object({}, rule('self.missing.deep == 1')), {});
    expect(error?.message).toContain('rule "self.missing.deep == 1" cannot be evaluated');
  });
});
