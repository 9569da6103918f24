// Structural defaulting as Kubernetes does it: nulls of fields that may not be null are dropped, then every
// absent field that has a default gets it, from the outside in. Gives back a new object where something
// changed and never touches the one it was given. Values of the wrong type are left for the schema to refuse.
import type { JsonSchema } from './definitions.ts';

export function withDefaults<T>(schema: JsonSchema, value: T): T {
  return defaulted(schema, value) as T;
}

function defaulted(schema: JsonSchema, value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = schema.items;
    if (!items || !hasDefaults(items)) return value;
    return value.map((item: unknown) => defaulted(items, item));
  }
  if (typeof value !== 'object' || value === null) return value;
  if (!schema.properties) {
    const values = schema.additionalProperties;
    if (!values || !hasDefaults(values)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, defaulted(values, part)]));
  }
  const out: Record<string, unknown> = { ...value };
  for (const [name, part] of Object.entries(schema.properties)) {
    if (Object.hasOwn(out, name) && out[name] === null && !part.nullable) delete out[name];
    if (!Object.hasOwn(out, name) && part.default !== undefined) out[name] = structuredClone(part.default);
    if (Object.hasOwn(out, name)) out[name] = defaulted(part, out[name]);
  }
  return out;
}

const memo = new WeakMap<JsonSchema, boolean>();

/** Whether defaulting can change anything below; nulls to drop count. */
function hasDefaults(schema: JsonSchema): boolean {
  const known = memo.get(schema);
  if (known !== undefined) return known;
  const answer =
    schema.properties !== undefined ||
    (schema.items !== undefined && hasDefaults(schema.items)) ||
    (schema.additionalProperties !== undefined && hasDefaults(schema.additionalProperties));
  memo.set(schema, answer);
  return answer;
}
