// The one door through which an object of ours comes into a store: defaults, then every layer of validation
// that its state allows (schema; then CEL rules, metadata and checkSpec together), all errors at once. Pure,
// and the same for the CLI, which runs it before sending, and the file store; a Kubernetes API server does
// the first two by itself. Objects of other kinds are refused. What a build lacks is not refused here: that
// is a condition (supported.ts).
import { isDeepStrictEqual } from 'node:util';
import { checkCel, prepareCel } from './cel.ts';
import { checkMetadata } from './check-metadata.ts';
import { checkMigration, checkSpec } from './check-spec.ts';
import { withDefaults } from './defaults.ts';
import { allDefinitions, definitionOf, type JsonSchema } from './definitions.ts';
import { limitErrors, type FieldError } from './field-error.ts';
import { nearest } from './nearest-name.ts';
import { apiVersion, group, kinds, type Kind, type KubernetesObject } from './objects.ts';
import { checkSchema } from './schema.ts';
import type { Migration, ProcessGroup } from './types.gen.ts';

export type Operation = 'CREATE' | 'UPDATE';
export type Admitted<T> = { object: T; errors?: never } | { object?: never; errors: FieldError[] };

/** Does beforehand what the first object would have to wait for. */
export function prepareAdmission(): void {
  for (const { schema } of allDefinitions()) prepareCel(schema);
}

/** With `oldObject` for updates. Gives back the object with defaults filled in, or what is wrong with it. */
export function admit<T extends KubernetesObject = KubernetesObject>(
  operation: Operation,
  object: unknown,
  oldObject?: KubernetesObject,
): Admitted<T> {
  const kind = kindOfObject(object);
  if (typeof kind !== 'string') return { errors: [kind] };
  const { schema } = definitionOf(kind)!;
  const complete = withDefaults(schema, object) as T;
  const misshapen = checkSchema(kind, complete);
  if (misshapen.length > 0) return { errors: limitErrors(misshapen) };
  const errors = [
    ...checkMetadata(kinds[kind], complete.metadata),
    ...specErrors(kind, schema, complete, operation === 'UPDATE' ? oldObject : undefined),
    ...(operation === 'UPDATE' && oldObject ? identityErrors(complete, oldObject) : []),
  ];
  return errors.length > 0 ? { errors: limitErrors(errors) } : { object: complete };
}

/** The rules speak of the spec alone, so one that is as it was was judged when it came; most writes change only the status. */
function specErrors(
  kind: Kind,
  schema: JsonSchema,
  object: KubernetesObject,
  old?: KubernetesObject,
): FieldError[] {
  const before = old && withDefaults(schema, old);
  if (before && isDeepStrictEqual(specOf(object), specOf(before))) return [];
  return [...checkCel(schema, object, before), ...meaningErrors(kind, object)];
}

const specOf = (object: KubernetesObject): unknown => (object as { spec?: unknown }).spec;

function meaningErrors(kind: Kind, object: KubernetesObject): FieldError[] {
  switch (kind) {
    case 'ProcessGroup':
      return checkSpec(object as ProcessGroup);
    case 'Migration':
      return checkMigration(object as Migration);
    case 'Checkpoint':
    case 'NodeMonitor':
      return [];
  }
}

function identityErrors(object: KubernetesObject, old: KubernetesObject): FieldError[] {
  const fields = ['name', 'namespace'] as const;
  return fields
    .filter((name) => object.metadata[name] !== old.metadata[name])
    .map((name) => ({
      field: `metadata.${name}`,
      message: `cannot change from ${old.metadata[name] ?? 'nothing'} to ${object.metadata[name] ?? 'nothing'}; create another object`,
      reason: 'FieldValueForbidden',
    }));
}

function kindOfObject(object: unknown): Kind | FieldError {
  if (typeof object !== 'object' || object === null || Array.isArray(object))
    return {
      field: '',
      message: 'is no object',
      reason: 'FieldValueTypeInvalid',
      expected: 'an object with apiVersion, kind, metadata and spec',
    };
  const { kind, apiVersion: given } = object as { kind?: unknown; apiVersion?: unknown };
  if (typeof given !== 'string' || given === '')
    return {
      field: 'apiVersion',
      message: 'is required',
      reason: 'FieldValueRequired',
      expected: apiVersion,
    };
  if (given !== apiVersion) {
    const message = given.startsWith(`${group}/`)
      ? `version ${given} is not served`
      : `cannot be ${given}: only objects of ${group} are kept here`;
    return { field: 'apiVersion', message, reason: 'FieldValueNotSupported', expected: apiVersion };
  }
  const known = Object.keys(kinds);
  if (typeof kind === 'string' && Object.hasOwn(kinds, kind)) return kind as Kind;
  const near = typeof kind === 'string' ? nearest(kind, known) : undefined;
  return {
    field: 'kind',
    message:
      kind === undefined
        ? 'is required'
        : `cannot be ${typeof kind === 'string' ? kind : JSON.stringify(kind)}${near ? `; did you mean ${near}?` : ''}`,
    reason: kind === undefined ? 'FieldValueRequired' : 'FieldValueNotSupported',
    expected: `one of ${known.join(', ')}`,
  };
}
