// Validation by schema: runs the generated validators and says in words what they found, all of it, with the
// path of each field. Unknown fields are errors that name the nearest known one, or where that name belongs.
// Also what JSON schema cannot say about lists: that the keys of a keyed list differ. No rules between
// fields (cel.ts) and none of meaning (check-spec.ts).
import { definitionOf, type JsonSchema } from './definitions.ts';
import { fieldPath, type FieldError, type PathStep } from './field-error.ts';
import { nearest } from './nearest-name.ts';
import { metadataSchema } from './metadata-schema.ts';
import type { Kind } from './objects.ts';
import * as validators from './validators.gen.js';
import type { SchemaError } from './validators.gen.js';

/** What patterns mean, in words; a test holds this table to the patterns in use. */
export const patternMeanings: Record<string, string> = {
  '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$':
    'lower-case letters, digits and "-", beginning and ending with a letter or digit',
  '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$':
    'lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit',
  '^[0-9]{1,7}(-[0-9]{1,7}(:[0-9]{1,7})?)?(,[0-9]{1,7}(-[0-9]{1,7}(:[0-9]{1,7})?)?)*$':
    'a rank set such as "0-3,7" or "0-14:2"',
  '^[A-Za-z_][A-Za-z0-9_.-]*$':
    'a variable name of letters, digits, "_", "." and "-", not beginning with a digit',
  '^/': 'an absolute path, beginning with "/"',
  '^(Host|/.*)$': 'Host or an absolute path',
  '^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$':
    'a quantity such as 500m, 2 or 1Gi',
  '^0?[0-7]{3}$': 'three octal digits such as "022"',
  '^(Unlimited|[0-9]{1,19})$': 'a number or Unlimited',
  '^(Auto|[1-9][0-9]{0,8})$': 'a number of seconds or Auto',
  '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$':
    'a name such as muster.dev/processgroup-controller',
  '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$': 'one word such as RanksRunning',
  '^sha256:[0-9a-f]{64}$': 'a digest such as sha256:0123...',
};

/** Every error of the object's shape; none for a good one. */
export function checkSchema(kind: Kind, object: unknown): FieldError[] {
  const validate = validators[kind];
  const root = definitionOf(kind)!.schema;
  if (validate(object)) return duplicatesIn(root, object, []);
  const errors = validate.errors ?? [];
  validate.errors = null;
  return errors.flatMap((error) => fieldErrorOf(kind, root, object, error));
}

function fieldErrorOf(kind: Kind, root: JsonSchema, object: unknown, error: SchemaError): FieldError[] {
  const steps = stepsOfPointer(error.instancePath, object);
  const value = valueAt(object, steps);
  const { params } = error;
  const at = (
    reason: FieldError['reason'],
    message: string,
    expected?: string,
    more: PathStep[] = [],
  ): FieldError[] => [
    {
      field: fieldPath([...steps, ...more]),
      message,
      reason,
      ...(expected === undefined ? {} : { expected }),
    },
  ];
  switch (error.keyword) {
    case 'required': {
      const name = String(params.missingProperty);
      return at('FieldValueRequired', 'is required', undefined, [name]);
    }
    case 'additionalProperties': {
      const name = String(params.additionalProperty);
      return at('FieldUnknown', unknownText(kind, root, steps, name), undefined, [name]);
    }
    case 'type':
      return at(
        'FieldValueTypeInvalid',
        `has the wrong type: ${typeOf(value)}${value === null ? '; remove it or give a value' : ''}`,
        wantedType(params.type),
      );
    case 'enum': {
      const allowed = (params.allowedValues as unknown[]).map((item) => (item === '' ? '""' : String(item)));
      const near = typeof value === 'string' ? nearest(value, allowed) : undefined;
      const hint = near ? `; did you mean ${near}?` : '';
      return at('FieldValueNotSupported', `cannot be ${show(value)}${hint}`, `one of ${allowed.join(', ')}`);
    }
    case 'minimum':
      return at('FieldValueInvalid', `must be at least ${String(params.limit)}, not ${show(value)}`);
    case 'maximum':
      return at('FieldValueInvalid', `must be at most ${String(params.limit)}, not ${show(value)}`);
    case 'minLength':
      return at('FieldValueInvalid', 'must not be empty');
    case 'maxLength':
      return at(
        'FieldValueTooLong',
        `must be at most ${String(params.limit)} characters long, not ${String(value).length}`,
      );
    case 'minItems':
      return at(
        'FieldValueInvalid',
        `must have at least ${String(params.limit)} item${params.limit === 1 ? '' : 's'}`,
      );
    case 'maxItems':
      return at(
        'FieldValueTooMany',
        `must have at most ${String(params.limit)} items, not ${(value as unknown[]).length}`,
      );
    case 'minProperties':
    case 'maxProperties':
      return at('FieldValueInvalid', propertiesText(root, steps, error.keyword, Number(params.limit), value));
    case 'uniqueItems': {
      const [first, second] = [Number(params.j), Number(params.i)].sort((a, b) => a - b);
      const twice = (value as unknown[])[first!];
      return at(
        'FieldValueDuplicate',
        `is the same as item ${first}, ${show(twice)}; name each once`,
        undefined,
        [second!],
      );
    }
    case 'pattern':
      return at(
        'FieldValueInvalid',
        `cannot be ${show(value)}`,
        patternMeanings[String(params.pattern)] ?? `a match of ${String(params.pattern)}`,
      );
    case 'format':
      return at('FieldValueInvalid', `cannot be ${show(value)}`, 'a time such as 2026-01-31T12:00:00Z');
    default:
      return at('FieldValueInvalid', `does not fit the schema (${error.keyword})`);
  }
}

function propertiesText(
  root: JsonSchema,
  steps: PathStep[],
  keyword: string,
  limit: number,
  value: unknown,
): string {
  const schema = schemaAt(root, steps);
  if (schema?.properties?.emptyDir) {
    const kinds = Object.keys(schema.properties).filter((name) => name !== 'name');
    return `must be of exactly one kind: ${kinds.join(', ')}`;
  }
  const bound = keyword === 'minProperties' ? 'least' : 'most';
  return `must have at ${bound} ${limit} keys, not ${Object.keys(value as object).length}`;
}

function unknownText(kind: Kind, root: JsonSchema, steps: PathStep[], name: string): string {
  const schema = steps[0] === 'metadata' ? (metadataSchema as unknown as JsonSchema) : schemaAt(root, steps);
  const known = Object.keys(schema?.properties ?? {});
  const near = nearest(name, known);
  if (near) return `is not a field of ${kind}; did you mean ${near}?`;
  const all = fieldsBelow(root.properties?.spec, 'spec');
  const meant = nearest(name, all.keys());
  if (meant) return `is not a field here; ${all.get(meant)!.slice(0, 3).join(' or ')} is`;
  const shown = known.length > 12 ? `${known.slice(0, 12).join(', ')}, ...` : known.join(', ');
  return `is not a field of ${kind}; here there are ${shown}`;
}

/** The paths of every field name below. */
function fieldsBelow(schema: JsonSchema | undefined, path: string, found = new Map<string, string[]>()) {
  for (const [name, part] of Object.entries(schema?.properties ?? {})) {
    const here = `${path}.${name}`;
    const paths = found.get(name);
    if (paths) paths.push(here);
    else found.set(name, [here]);
    fieldsBelow(part.items ?? part, part.items ? `${here}[]` : here, found);
  }
  return found;
}

/** Keyed lists in which a key comes twice. */
function duplicatesIn(schema: JsonSchema, value: unknown, steps: PathStep[]): FieldError[] {
  if (Array.isArray(value)) {
    const errors: FieldError[] = [];
    const keys = schema['x-kubernetes-list-map-keys'];
    if (keys) {
      const seen = new Map<string, number>();
      value.forEach((item: Record<string, unknown>, index) => {
        const text = keys.map((key) => String(item[key])).join(', ');
        const first = seen.get(text);
        if (first === undefined) seen.set(text, index);
        else
          errors.push({
            field: fieldPath([...steps, index, ...(keys.length === 1 ? keys : [])]),
            message: `is the same as that of item ${first}, "${text}"; each ${keys.join(', ')} may come once`,
            reason: 'FieldValueDuplicate',
          });
      });
    }
    const items = schema.items;
    if (items?.type !== 'object') return errors;
    return errors.concat(value.flatMap((item, index) => duplicatesIn(items, item, [...steps, index])));
  }
  if (typeof value !== 'object' || value === null || !schema.properties) return [];
  return Object.entries(value).flatMap(([key, part]) => {
    const inner = schema.properties![key];
    return inner && typeof part === 'object' ? duplicatesIn(inner, part, [...steps, key]) : [];
  });
}

export function schemaAt(root: JsonSchema, steps: readonly PathStep[]): JsonSchema | undefined {
  let schema: JsonSchema | undefined = root;
  for (const step of steps)
    schema =
      typeof step === 'number' ? schema?.items : (schema?.properties?.[step] ?? schema?.additionalProperties);
  return schema;
}

function stepsOfPointer(pointer: string, object: unknown): PathStep[] {
  const steps: PathStep[] = [];
  let value = object;
  for (const part of pointer.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    const step = Array.isArray(value) ? Number(name) : name;
    steps.push(step);
    value = (value as Record<PathStep, unknown> | null)?.[step];
  }
  return steps;
}

function valueAt(object: unknown, steps: readonly PathStep[]): unknown {
  return steps.reduce<unknown>((value, step) => (value as Record<PathStep, unknown> | null)?.[step], object);
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  return `the ${typeof value} ${show(value)}`;
}

function wantedType(type: unknown): string {
  const names: Record<string, string> = { array: 'a list', object: 'an object', integer: 'a whole number' };
  return [type]
    .flat()
    .map((name) => names[String(name)] ?? `a ${String(name)}`)
    .join(' or ');
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
