// Reads the CustomResourceDefinitions in this folder: for each kind its names, its OpenAPI schema and its
// printer columns. Everything else in crds/ is derived from what this file returns. It takes the YAML as
// given; whether a real API server accepts it is tested elsewhere. Read at first use, once for each kind.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';

export interface CelRule {
  rule: string;
  message?: string;
  messageExpression?: string;
  fieldPath?: string;
  reason?: 'FieldValueInvalid' | 'FieldValueForbidden' | 'FieldValueRequired' | 'FieldValueDuplicate';
}

/** The part of OpenAPI that structural schemas use. */
export interface JsonSchema {
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  format?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  nullable?: boolean;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: JsonSchema;
  minProperties?: number;
  maxProperties?: number;
  items?: JsonSchema;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  pattern?: string;
  anyOf?: JsonSchema[];
  'x-kubernetes-int-or-string'?: boolean;
  'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  'x-kubernetes-list-map-keys'?: string[];
  'x-kubernetes-validations'?: CelRule[];
}

export interface PrinterColumn {
  name: string;
  type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  jsonPath: string;
  priority?: number;
  description?: string;
}

export interface Definition {
  kind: string;
  group: string;
  version: string;
  plural: string;
  singular: string;
  shortNames: string[];
  categories: string[];
  scope: 'Namespaced' | 'Cluster';
  schema: JsonSchema;
  columns: PrinterColumn[];
  /** The whole document, as it is applied to an API server. */
  manifest: Record<string, unknown>;
}

export const crdFiles = ['processgroup.yaml', 'checkpoint.yaml', 'migration.yaml', 'nodemonitor.yaml'] as const;

interface CrdDocument extends Record<string, unknown> {
  spec: {
    group: string;
    scope: 'Namespaced' | 'Cluster';
    names: { kind: string; plural: string; singular: string; shortNames?: string[]; categories?: string[] };
    versions: {
      name: string;
      schema: { openAPIV3Schema: JsonSchema };
      additionalPrinterColumns?: PrinterColumn[];
    }[];
  };
}

export function readDefinition(path: string): Definition {
  const manifest = load(readFileSync(path, 'utf8'), { filename: path }) as CrdDocument;
  const { group, scope, names, versions } = manifest.spec;
  const version = versions[0];
  if (!version || versions.length !== 1) throw new Error(`${path}: expected exactly one version`);
  return {
    kind: names.kind,
    group,
    version: version.name,
    plural: names.plural,
    singular: names.singular,
    shortNames: names.shortNames ?? [],
    categories: names.categories ?? [],
    scope,
    schema: version.schema.openAPIV3Schema,
    columns: version.additionalPrinterColumns ?? [],
    manifest,
  };
}

const cache = new Map<string, Definition>();

/** The definition of one of our kinds, read at the first call. */
export function definitionOf(kind: string): Definition | undefined {
  const known = cache.get(kind);
  if (known) return known;
  const file = `${kind.toLowerCase()}.yaml`;
  if (!(crdFiles as readonly string[]).includes(file)) return undefined;
  const definition = readDefinition(join(import.meta.dirname, file));
  if (definition.kind !== kind) return undefined;
  cache.set(kind, definition);
  return definition;
}

/** All four, for those who install or document them. */
export function allDefinitions(): Definition[] {
  return crdFiles
    .filter((file) => existsSync(join(import.meta.dirname, file)))
    .map((file) => readDefinition(join(import.meta.dirname, file)));
}
