/**
 * Fields that a kind's schema does not have: found, told in the words of Kubernetes with the nearest name, and taken out.
 * Whether that refuses the request is for the client to say (`fieldValidation`). Pure.
 */
import type { JsonSchema } from '../../crds/definitions.ts';
import { fieldPath, type PathStep } from '../../crds/field-error.ts';
import { nearest } from '../../crds/nearest-name.ts';

export interface UnknownField {
  /** Such as `spec.processes[0].comand`. */
  readonly field: string;
  readonly message: string;
}

export interface Sifted {
  /** The value without the unknown fields; the same value when there are none. */
  readonly known: unknown;
  readonly unknown: readonly UnknownField[];
}

export function sifted(schema: JsonSchema, object: unknown): Sifted {
  const unknown: UnknownField[] = [];
  // What every object has, whether its schema says so or not.
  const properties = { apiVersion: anything, kind: anything, ...schema.properties };
  const known = sift({ ...schema, properties }, object, [], unknown);
  return { known, unknown };
}

const anything: JsonSchema = {};

function sift(
  schema: JsonSchema,
  value: unknown,
  steps: readonly PathStep[],
  found: UnknownField[],
): unknown {
  const before = found.length;
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items === undefined) return value;
    const kept = value.map((item: unknown, index) => sift(items, item, [...steps, index], found));
    return found.length === before ? value : kept;
  }
  if (typeof value !== 'object' || value === null) return value;
  const { properties, additionalProperties } = schema;
  const open = schema['x-kubernetes-preserve-unknown-fields'] === true;
  if (properties === undefined && additionalProperties === undefined) return value;
  const kept: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(value)) {
    const inner =
      properties !== undefined && Object.hasOwn(properties, name) ? properties[name] : additionalProperties;
    if (inner !== undefined) kept[name] = sift(inner, part, [...steps, name], found);
    else if (open) kept[name] = part;
    else {
      const field = fieldPath([...steps, name]);
      const near = nearest(name, Object.keys(properties ?? {}));
      const hint = near === undefined ? '' : ` (did you mean ${near}?)`;
      found.push({ field, message: `unknown field "${field}"${hint}` });
    }
  }
  return found.length === before ? value : kept;
}
