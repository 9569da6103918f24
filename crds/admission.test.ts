import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { admit } from './admission.ts';
import { readCases } from './cases/cases.ts';
import { allDefinitions, type JsonSchema } from './definitions.ts';
import { errorLimit } from './field-error.ts';
import { kinds } from './objects.ts';
import { patternMeanings } from './schema.ts';
import type { ProcessGroup } from './types.gen.ts';

const smallest = readCases()[0]!.object;

describe('admit', () => {
  it.each(readCases().map((each) => [each.name, each] as const))('%s', (_, { object, oldObject, errors }) => {
    const before = structuredClone({ object, oldObject });
    const outcome = admit(oldObject ? 'UPDATE' : 'CREATE', object, oldObject);
    expect({ object, oldObject }).toEqual(before);
    const found = Object.fromEntries((outcome.errors ?? []).map((error) => [error.field, error.message]));
    expect(Object.keys(found).sort()).toEqual(Object.keys(errors).sort());
    for (const [field, part] of Object.entries(errors)) expect(found[field]).toContain(part);
    // What was admitted is admitted again, unchanged.
    if (outcome.object)
      expect(admit('UPDATE', outcome.object, outcome.object)).toEqual({ object: outcome.object });
  });

  it('may leave out the rules where the spec is as it was, since none speaks of anything else', () => {
    const rulesIn = (schema: JsonSchema | undefined): string[] =>
      schema === undefined
        ? []
        : [
            ...(schema['x-kubernetes-validations'] ?? []).map(({ rule }) => rule),
            ...[...Object.values(schema.properties ?? {}), schema.items, schema.additionalProperties].flatMap(
              rulesIn,
            ),
          ];
    for (const { schema } of allDefinitions()) {
      const { spec: _, ...others } = schema.properties ?? {};
      expect(Object.values(others).flatMap(rulesIn)).toEqual([]);
      for (const { rule } of schema['x-kubernetes-validations'] ?? [])
        expect(rule).not.toMatch(/\bself\.(?!spec\b)/);
    }
  });

  it('fills in defaults, from the outside in', () => {
    const { object } = admit<ProcessGroup>('CREATE', smallest);
    expect(object?.spec).toMatchObject({
      placement: { policy: 'Block', binding: 'None' },
      stdio: { stdin: 'Rank0', stdout: 'Collect', stderr: 'Collect', labelRanks: false, whenFull: 'Rotate' },
      failurePolicy: { rank: 'Abort', node: 'Fail', maxRestarts: 3 },
      limits: {},
      environment: 'Clean',
      suspend: false,
      gracePeriodSeconds: 10,
    });
    // What depends on the cluster is resolved in status, not defaulted.
    for (const field of ['network', 'suspendPolicy', 'pmi']) expect(object?.spec).not.toHaveProperty(field);
  });

  it.each([
    [null, '', 'is no object'],
    [[], '', 'is no object'],
    [{}, 'apiVersion', 'is required'],
    [{ apiVersion: 'v1', kind: 'Pod' }, 'apiVersion', 'only objects of muster.dev'],
    [{ apiVersion: 'muster.dev/v1', kind: 'ProcessGroup' }, 'apiVersion', 'is not served'],
    [{ apiVersion: 'muster.dev/v1alpha1', kind: 'ProcesGroup' }, 'kind', 'did you mean ProcessGroup?'],
    [{ apiVersion: 'muster.dev/v1alpha1', kind: 'constructor' }, 'kind', 'cannot be constructor'],
    [{ ...smallest, metadata: {} }, 'metadata.name', 'give a name or generateName'],
  ])('refuses %j', (object, field, message) => {
    const { errors } = admit('CREATE', object);
    expect(errors).toHaveLength(1);
    expect(errors![0]).toMatchObject({ field, message: expect.stringContaining(message) as string });
  });

  it('refuses another name on update', () => {
    const { errors } = admit('UPDATE', smallest, {
      ...smallest,
      metadata: { ...smallest.metadata, name: 'other' },
    });
    expect(errors?.map((error) => error.field)).toEqual(['metadata.name']);
  });

  it('lists no more errors than anybody reads', () => {
    const env = Array.from({ length: 400 }, (_, i) => ({ name: `A${i}` }));
    const spec = { size: 1, processes: [{ name: 'a', ranks: '0', command: ['x'], env }] };
    const { errors } = admit('CREATE', { ...smallest, spec });
    expect(errors).toHaveLength(errorLimit);
    expect(errors!.at(-1)!.message).toBe('and 351 more errors');
  });

  it('refuses arguments of 2 MB and says what to do', () => {
    const args = Array.from({ length: 20 }, () => 'x'.repeat(100_000));
    const { errors } = admit('CREATE', {
      ...smallest,
      spec: { size: 1, processes: [{ name: 'a', ranks: '0', command: ['x'], args }] },
    });
    expect(errors?.[0]).toMatchObject({
      field: 'spec.processes[0]',
      message: expect.stringContaining('in a file') as string,
    });
  });

  it('answers for any object whatever, and never throws', () => {
    const spec = fc.oneof(
      fc.anything(),
      fc.record({
        size: fc.anything(),
        processes: fc.anything(),
        placement: fc.anything(),
        limits: fc.anything(),
      }),
    );
    fc.assert(
      fc.property(spec, fc.anything(), (some, metadata) => {
        const object = { apiVersion: 'muster.dev/v1alpha1', kind: 'ProcessGroup', metadata, spec: some };
        expect(admit('CREATE', object).errors?.length).toBeGreaterThan(0);
      }),
    );
  });

  it('finds gaps and overlaps exactly as counting does', () => {
    const entry = fc.uniqueArray(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 }),
        fc.array(entry, { minLength: 1, maxLength: 3 }),
        (size, entries) => {
          const processes = entries.map((ranks, i) => ({
            name: `p${i}`,
            ranks: ranks.join(','),
            command: ['x'],
          }));
          const { errors } = admit('CREATE', { ...smallest, spec: { size, processes } });
          const all = entries.flat().sort((a, b) => a - b);
          const exact = all.length === size && all.every((rank, i) => rank === i);
          expect(errors === undefined).toBe(exact);
        },
      ),
    );
  });

  it('takes a millisecond or so for a group of 4 KB', () => {
    const args = ['x'.repeat(3500)];
    const group = {
      ...smallest,
      spec: { size: 4, processes: [{ name: 'a', ranks: '0-3', command: ['x'], args }] },
    };
    const once = () => {
      const start = performance.now();
      admit('UPDATE', group, group);
      return performance.now() - start;
    };
    const times = Array.from({ length: 400 }, once)
      .slice(200)
      .sort((a, b) => a - b);
    // Ten of them for a busy machine.
    expect(times[100]).toBeLessThan(10);
  });
});

function* partsOf(schema: JsonSchema): Generator<JsonSchema> {
  yield schema;
  for (const part of [...Object.values(schema.properties ?? {}), schema.items, schema.additionalProperties])
    if (part) yield* partsOf(part);
}

describe('definitions', () => {
  it('agree with the table of kinds', () => {
    for (const { kind, plural, singular, shortNames, scope, group, version } of allDefinitions())
      expect(kinds[kind as keyof typeof kinds]).toEqual({
        kind,
        plural,
        singular,
        shortNames,
        scope,
        group,
        version,
      });
    expect(allDefinitions().map(({ kind }) => kind)).toEqual(Object.keys(kinds));
  });

  const fields = allDefinitions().flatMap(({ kind, schema }) =>
    ['spec', 'status'].flatMap((part) =>
      [...partsOf(schema.properties![part]!)].map((each) => [kind, each] as const),
    ),
  );

  it('bound every string, list and map of a spec, and describe every field', () => {
    for (const [kind, part] of fields) {
      if (part.type === 'array')
        expect([kind, part.maxItems, part['x-kubernetes-list-type']]).not.toContain(undefined);
      if (part.additionalProperties)
        expect([kind, part.description, part.maxProperties]).not.toContain(undefined);
      if (part.type === 'string' && !part.enum && part.format !== 'date-time')
        expect([kind, part.maxLength]).not.toContain(undefined);
      for (const [name, field] of Object.entries(part.properties ?? {}))
        expect([kind, name, field.description?.endsWith('.')]).toEqual([kind, name, true]);
    }
  });

  it('use no pattern that errors cannot put in words', () => {
    for (const [, part] of fields)
      if (part.pattern) expect(Object.keys(patternMeanings)).toContain(part.pattern);
  });
});
