import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonSchema } from '../../crds/definitions.ts';
import { objectSchemaOf } from '../meta-schema.ts';
import type { KubernetesObject, ManagedFieldsEntry } from '../object-store.ts';
import { fromFieldsV1, membersOf, placeText, sameSet, toFieldsV1, union } from './field-set.ts';
import { applied, managersAfterUpdate, type WriteContext } from './managed-fields.ts';
import { fieldSetOf, merged } from './typed-fields.ts';

const schema: JsonSchema = objectSchemaOf({
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      properties: {
        size: { type: 'integer' },
        note: { type: 'string' },
        command: { type: 'array', items: { type: 'string' }, 'x-kubernetes-list-type': 'atomic' },
        parts: {
          type: 'array',
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['name'],
          items: {
            type: 'object',
            properties: { name: { type: 'string' }, ranks: { type: 'string' }, env: { type: 'string' } },
          },
        },
        colours: { type: 'array', items: { type: 'string' }, 'x-kubernetes-list-type': 'set' },
      },
    },
  },
});

interface Thing extends KubernetesObject {
  spec?: Record<string, unknown>;
}
const thing = (spec: Thing['spec'], metadata: Thing['metadata'] = { name: 'a' }): Thing => ({
  apiVersion: 'g/v1',
  kind: 'Thing',
  metadata,
  ...(spec === undefined ? {} : { spec }),
});
const context = (name: string, operation: 'Apply' | 'Update'): WriteContext => ({
  schema,
  hasStatus: true,
  manager: { name, operation, apiVersion: 'g/v1', time: '2026-01-01T00:00:00Z' },
});
const apply = (live: Thing, manager: string, wanted: Thing, force = false): Thing => {
  const result = applied(context(manager, 'Apply'), live, wanted, force);
  const object = result.object as Thing;
  return { ...object, metadata: { ...object.metadata, managedFields: result.managedFields } };
};
const update = (live: Thing, manager: string, spec: Thing['spec']): Thing => {
  const after = { ...live, spec: spec! };
  const managedFields = managersAfterUpdate(context(manager, 'Update'), live, after, after.metadata);
  return { ...after, metadata: { ...after.metadata, managedFields } };
};
const owned = (object: Thing, manager: string): string[] =>
  (object.metadata.managedFields ?? [])
    .filter((entry: ManagedFieldsEntry) => entry.manager === manager)
    .flatMap((entry) => [...membersOf(fromFieldsV1(entry.fieldsV1)!)].map(placeText));
const empty: Thing = { metadata: {} };

describe('server-side apply', () => {
  it('owns what it names, and takes away what it no longer names', () => {
    const first = apply(empty, 'me', thing({ size: 1, note: 'x', parts: [{ name: 'p', ranks: '0' }] }));
    expect(owned(first, 'me')).toEqual([
      '.spec.note',
      '.spec.parts[name="p"]',
      '.spec.parts[name="p"].name',
      '.spec.parts[name="p"].ranks',
      '.spec.size',
    ]);
    const second = apply(first, 'me', thing({ size: 1 }));
    expect(second.spec).toEqual({ size: 1 });
    expect(owned(second, 'me')).toEqual(['.spec.size']);
  });

  it('leaves what others own, also in items and maps of its own', () => {
    const mine = apply(
      empty,
      'me',
      thing({ parts: [{ name: 'p', ranks: '0' }] }, { name: 'a', labels: { a: '1' } }),
    );
    const theirs = apply(
      mine,
      'you',
      thing({ parts: [{ name: 'q', ranks: '1' }] }, { name: 'a', labels: { b: '2' } }),
    );
    expect(theirs.spec).toEqual({
      parts: [
        { name: 'p', ranks: '0' },
        { name: 'q', ranks: '1' },
      ],
    });
    const gone = apply(theirs, 'me', thing(undefined));
    expect(gone.spec).toEqual({ parts: [{ name: 'q', ranks: '1' }] });
    expect(gone.metadata.labels).toEqual({ b: '2' });
  });

  it('refuses to change what others own, naming them and the fields; force takes it', () => {
    const theirs = update(apply(empty, 'me', thing({ size: 1, note: 'x' })), 'kubectl-edit', {
      size: 2,
      note: 'x',
    });
    expect(owned(theirs, 'me')).toEqual(['.spec.note']);
    expect(() => apply(theirs, 'me', thing({ size: 1, note: 'x' }))).toThrow(
      'Apply failed with 1 conflict: conflict with "kubectl-edit" using g/v1: .spec.size',
    );
    const forced = apply(theirs, 'me', thing({ size: 1, note: 'x' }), true);
    expect(forced.spec).toEqual({ size: 1, note: 'x' });
    expect(owned(forced, 'kubectl-edit')).toEqual([]);
  });

  it('shares what both say the same, until one says otherwise', () => {
    const both = apply(apply(empty, 'me', thing({ size: 1 })), 'you', thing({ size: 1 }));
    expect(apply(both, 'me', thing({})).spec).toEqual({ size: 1 });
    expect(() => apply(both, 'me', thing({ size: 2 }))).toThrow('conflict with "you": .spec.size');
  });

  it('treats atomic lists as one field and sets by their values', () => {
    const one = apply(empty, 'me', thing({ command: ['a', 'b'], colours: ['red'] }));
    const two = apply(one, 'you', thing({ colours: ['blue'] }));
    expect(two.spec).toEqual({ command: ['a', 'b'], colours: ['red', 'blue'] });
    expect(() => apply(two, 'you', thing({ command: ['a'] }))).toThrow('conflict with "me": .spec.command');
  });

  it('counts an object nobody signed as before-first-apply', () => {
    expect(() => apply(thing({ size: 1 }), 'me', thing({ size: 2 }))).toThrow('before-first-apply');
    expect(apply(thing({ size: 1 }), 'me', thing({ size: 1 })).spec).toEqual({ size: 1 });
  });
});

describe('updates', () => {
  it('own what they change and lose what others change', () => {
    const made = update(empty, 'kubectl-create', { size: 1, parts: [{ name: 'p' }] });
    expect(owned(made, 'kubectl-create')).toContain('.spec.parts[name="p"].name');
    const edited = update(made, 'kubectl-edit', { size: 2, parts: [{ name: 'p' }] });
    expect(owned(edited, 'kubectl-edit')).toEqual(['.spec.size']);
    expect(owned(edited, 'kubectl-create')).not.toContain('.spec.size');
    expect(owned(update(edited, 'kubectl-edit', { parts: [{ name: 'p' }] }), 'kubectl-edit')).toEqual([]);
  });

  it('say themselves who owns what when they carry managedFields, and forget all with one empty entry', () => {
    const live = apply(empty, 'me', thing({ size: 1 }));
    const moved = live.metadata.managedFields!.map((entry) => ({ ...entry, manager: 'you' }));
    const asked = { ...live.metadata, managedFields: moved };
    expect(managersAfterUpdate(context('x', 'Update'), live, live, asked)).toMatchObject([
      { manager: 'you' },
    ]);
    const none = { ...live.metadata, managedFields: [{} as ManagedFieldsEntry] };
    expect(managersAfterUpdate(context('x', 'Update'), live, live, none)).toEqual([]);
  });
});

const spec = fc.record(
  {
    size: fc.integer({ min: 0, max: 3 }),
    note: fc.constantFrom('x', 'y'),
    command: fc.array(fc.constantFrom('a', 'b'), { maxLength: 2 }),
    colours: fc.uniqueArray(fc.constantFrom('red', 'blue', 'green')),
    parts: fc.uniqueArray(
      fc.record(
        { name: fc.constantFrom('p', 'q', 'r'), ranks: fc.constantFrom('0', '1') },
        { requiredKeys: ['name'] },
      ),
      { selector: ({ name }) => name },
    ),
  },
  { requiredKeys: [] },
);

describe('for any objects', () => {
  it('an apply says what it says, and a second one changes nothing', () => {
    fc.assert(
      fc.property(spec, spec, spec, (base, first, second) => {
        const live = apply(update(empty, 'base', base), 'me', thing(first), true);
        const once = apply(live, 'me', thing(second), true);
        expect(merged(schema, once, thing(second))).toEqual(once);
        expect(apply(once, 'me', thing(second))).toEqual(once);
      }),
    );
  });

  it('a set survives its JSON', () => {
    fc.assert(
      fc.property(spec, spec, (one, other) => {
        const set = union(fieldSetOf(schema, thing(one)), fieldSetOf(schema, thing(other)));
        expect(sameSet(fromFieldsV1(JSON.parse(JSON.stringify(toFieldsV1(set))))!, set)).toBe(true);
      }),
    );
  });
});
