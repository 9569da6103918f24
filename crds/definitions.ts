// The CustomResourceDefinitions as data: for each kind its names, its OpenAPI schema and its printer columns.
// Everything else in crds/ works on what this file returns. It takes the generated JSON as given, so that
// no YAML is parsed and no file looked for at run time; `make verify` holds the JSON to the YAML.
import generated from './generated/definitions.gen.json' with { type: 'json' };

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
  'x-kubernetes-map-type'?: 'atomic' | 'granular';
  'x-kubernetes-preserve-unknown-fields'?: boolean;
  'x-kubernetes-validations'?: CelRule[];
}

export interface PrinterColumn {
  name: string;
  type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  jsonPath: string;
  priority?: number;
  description?: string;
}

export interface ScalePaths {
  specReplicasPath: string;
  statusReplicasPath: string;
  labelSelectorPath?: string;
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
  /** JSON paths that objects are selected by. */
  selectableFields: string[];
  scale?: ScalePaths;
  /** The whole document, as it is applied to an API server. */
  manifest: CrdManifest;
}

export interface CrdManifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string };
  spec: {
    group: string;
    scope: 'Namespaced' | 'Cluster';
    names: { kind: string; plural: string; singular: string; shortNames?: string[]; categories?: string[] };
    versions: {
      name: string;
      schema: { openAPIV3Schema: JsonSchema };
      additionalPrinterColumns?: PrinterColumn[];
      selectableFields?: { jsonPath: string }[];
      subresources?: { status?: object; scale?: ScalePaths };
    }[];
  };
}

export function definitionFrom(manifest: CrdManifest): Definition {
  const { group, scope, names, versions } = manifest.spec;
  const version = versions[0];
  if (!version || versions.length !== 1) throw new Error(`${names.kind}: expected exactly one version`);
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
    selectableFields: (version.selectableFields ?? []).map(({ jsonPath }) => jsonPath),
    ...(version.subresources?.scale === undefined ? {} : { scale: version.subresources.scale }),
    manifest,
  };
}

const definitions = new Map<string, Definition>();

/** All four, for those who install, serve or document them. */
export function allDefinitions(): Definition[] {
  if (definitions.size === 0) {
    for (const manifest of generated as unknown as CrdManifest[]) {
      const definition = definitionFrom(manifest);
      definitions.set(definition.kind, definition);
    }
  }
  return [...definitions.values()];
}

/** The definition of one of our kinds; nothing for other kinds. */
export function definitionOf(kind: string): Definition | undefined {
  if (definitions.size === 0) allDefinitions();
  return definitions.get(kind);
}
