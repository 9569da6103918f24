// Makes crds/validators.gen.js: ajv's validators for our kinds, compiled ahead of time, because compiling
// them at start would cost every command some 80 ms. The schemas are made strict on the way: what a schema
// does not name is an error. Kubernetes' own extensions are left to their own files (CEL, list types).
import Ajv from 'ajv';
import standaloneCode from 'ajv/dist/standalone/index.js';
import { build } from 'esbuild';
import type { Definition, JsonSchema } from './definitions.ts';
import { metadataSchema } from './metadata-schema.ts';

const int32 = { minimum: -2147483648, maximum: 2147483647 };

/** One of our schemas as plain, strict JSON schema. */
export function strictSchema(schema: JsonSchema): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  if (schema['x-kubernetes-int-or-string']) out.type = ['integer', 'string'];
  else if (schema.type) out.type = schema.type;
  if (schema.format === 'int32') Object.assign(out, int32);
  if (schema.format === 'date-time') out.format = 'date-time';
  for (const key of ['enum', 'required', 'minimum', 'maximum', 'minLength', 'maxLength', 'pattern'] as const)
    if (schema[key] !== undefined) out[key] = schema[key];
  for (const key of ['minItems', 'maxItems', 'minProperties', 'maxProperties'] as const)
    if (schema[key] !== undefined) out[key] = schema[key];
  if (schema['x-kubernetes-list-type'] === 'set') out.uniqueItems = true;
  if (schema.items) out.items = strictSchema(schema.items);
  if (schema.properties) {
    out.properties = Object.fromEntries(
      Object.entries(schema.properties).map(([name, part]) => [name, strictSchema(part)]),
    );
    out.additionalProperties = false;
  }
  if (schema.additionalProperties) out.additionalProperties = strictSchema(schema.additionalProperties);
  return out;
}

export async function generateValidators(definitions: readonly Definition[]): Promise<string> {
  const ajv = new Ajv.Ajv({
    allErrors: true,
    allowUnionTypes: true,
    strict: true,
    strictRequired: false,
    messages: false,
    code: { source: true, esm: true, optimize: 2 },
    formats: { 'date-time': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/ },
  });
  const names: Record<string, string> = {};
  for (const definition of definitions) {
    const schema = strictSchema(definition.schema);
    const name = definition.schema.properties?.metadata?.properties?.name;
    (schema.properties as Record<string, unknown>).metadata = name
      ? { ...metadataSchema, properties: { ...metadataSchema.properties, name: strictSchema(name) } }
      : metadataSchema;
    schema.required = ['apiVersion', 'kind', 'metadata', 'spec'];
    ajv.addSchema({ $id: definition.kind, ...schema });
    names[definition.kind] = definition.kind;
  }
  const bundle = await build({
    stdin: { contents: standaloneCode.default(ajv, names), resolveDir: import.meta.dirname, loader: 'js' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'es2022',
    minify: true,
    charset: 'utf8',
    legalComments: 'none',
  });
  return (
    '// Generated from crds/*.yaml by crds/generate-validators.ts with ajv. Do not edit: run `make generate`.\n' +
    bundle.outputFiles[0]!.text
  );
}
