import fc from 'fast-check';
import { dump } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import { admit } from './admission.ts';
import { errorText } from './field-error.ts';
import { manifestBytesLimit, parseManifests, placeErrors } from './manifest.ts';

const job = `# two objects
apiVersion: muster.dev/v1alpha1
kind: ProcessGroup
metadata:
  name: cpi
  labels: {a.b/c: x}
spec:
  size: 4
  processes:
    - name: first
      ranks: 0-2
      command: [./cpi]
    - name: second
      ranks: 2-3
      command:
        - ./cpi
---
kind: Other
`;

describe('parseManifests', () => {
  it('gives every object with the lines of its fields', () => {
    const { objects, errors } = parseManifests(job, 'job.yaml');
    expect(errors).toEqual([]);
    expect(objects.map(({ object, line }) => [object.kind, line])).toEqual([
      ['ProcessGroup', 2],
      ['Other', 18],
    ]);
    const lineOf = (field: string) => objects[0]!.lineOf(field);
    expect(lineOf('spec')).toBe(7);
    expect(lineOf('spec.size')).toBe(8);
    expect(lineOf('spec.processes[1]')).toBe(13);
    expect(lineOf('spec.processes[1].ranks')).toBe(14);
    expect(lineOf('spec.processes[1].command[0]')).toBe(16);
    expect(lineOf('metadata.labels[a.b/c]')).toBe(6);
    expect(lineOf('spec.missing.deep')).toBe(7);
    expect(objects[1]!.lineOf('metadata.name')).toBe(18);
  });

  it('places the errors of admission', () => {
    const [first] = parseManifests(job, 'job.yaml').objects;
    const errors = placeErrors(admit('CREATE', first!.object).errors ?? [], first!, 'job.yaml');
    expect(errors.map(errorText)).toEqual([
      'job.yaml:14: spec.processes[1].ranks: rank 2 is also in "first" (spec.processes[0]); each rank runs one program',
    ]);
  });

  it('takes lists apart and skips empty documents', () => {
    const { objects } = parseManifests(
      '---\n---\nkind: List\nitems:\n- kind: A\n- kind: B\n---\n# nothing\n',
      'f',
    );
    expect(objects.map(({ object, line }) => [object.kind, line])).toEqual([
      ['A', 5],
      ['B', 6],
    ]);
  });

  it('follows anchors and merge keys', () => {
    const text = 'a: &base\n  x: 1\n  y: 2\nb:\n  <<: *base\n  y: 3\nc: *base\n';
    const [parsed] = parseManifests(text, 'f').objects;
    expect(parsed!.object).toEqual({ a: { x: 1, y: 2 }, b: { x: 1, y: 3 }, c: { x: 1, y: 2 } });
    expect(parsed!.lineOf('b.x')).toBe(2);
    expect(parsed!.lineOf('b.y')).toBe(6);
    expect(parsed!.lineOf('c')).toBe(7);
  });

  const bomb = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]']
    .concat(
      Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(',')}]`),
    )
    .join('\n');

  it.each([
    ['a: 1\nb: 2\na: 3\n', 3, 'duplicated mapping key'],
    ['a: 1\nkind: [\n', 3, 'is no valid YAML'],
    ['ok: 1\n---\na: 1\n\tb: 2\n', 4, 'is no valid YAML'],
    [bomb, 6, 'aliases expand to more than'],
    ['a: &a [*a]\n', 1, 'alias *a contains itself'],
    ['a: *nobody\n', 1, 'nobody'],
    ['x: '.concat('['.repeat(100), ']'.repeat(100)), 1, 'is no valid YAML: nesting exceeded maxDepth'],
    ['- kind: A\n', 1, 'is a list, not an object'],
    ['a: 1\n---\njust text\n', 3, 'is the string "just text", not an object'],
    [`a: ${'x'.repeat(manifestBytesLimit)}`, 1, 'the file has more than 4194304 bytes'],
    [`b: &b ${'x'.repeat(300_000)}\nc: [*b, *b, *b, *b]\n`, 2, 'aliases expand to more than'],
  ])('refuses %#', (text, line, message) => {
    const { objects, errors } = parseManifests(text, 'f.yaml');
    expect(objects).toEqual([]);
    expect(errors).toEqual([{ file: 'f.yaml', line, message: expect.stringContaining(message) as string }]);
  });

  it('does not let a key reach a prototype', () => {
    const [parsed] = parseManifests('__proto__: {polluted: true}\nconstructor: 1\n', 'f').objects;
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(Object.getPrototypeOf(parsed!.object)).toBe(Object.prototype);
  });

  it('reads back whatever was written, and finds the line of every field', () => {
    const key = fc.stringMatching(/^[a-z]{1,8}$/);
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof({ maxDepth: 4 }, fc.string(), fc.integer(), fc.boolean(), tie('list'), tie('map')),
      list: fc.array(tie('value'), { maxLength: 4 }),
      map: fc.dictionary(key, tie('value'), { maxKeys: 4 }),
    }));
    fc.assert(
      fc.property(fc.dictionary(key, value, { minKeys: 1, maxKeys: 6 }), (object) => {
        const text = dump(object);
        const { objects, errors } = parseManifests(text, 'f');
        expect(errors).toEqual([]);
        expect(objects[0]!.object).toEqual(object);
        for (const name of Object.keys(object)) {
          const line = text.split('\n')[objects[0]!.lineOf(name) - 1];
          expect(line!.replace(/^['"]/, '').startsWith(name)).toBe(true);
        }
      }),
    );
  });
});
