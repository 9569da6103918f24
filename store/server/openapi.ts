/**
 * The API as OpenAPI documents, v3 (one a group and version) and v2 (one for all), made from the served types' schemas.
 * `kubectl explain` reads them, and kubectl learns from them that the server checks fields and does dry runs. Pure; a
 * document is made when first asked for.
 */
import { createHash } from 'node:crypto';
import type { JsonSchema } from '../../crds/definitions.ts';
import { managedFieldsEntrySchema, objectMetaSchema, ownerReferenceSchema } from '../meta-schema.ts';
import type { ResourceType } from '../resource.ts';
import type { ServedType } from './served-type.ts';
import { subresourcesOf } from './target.ts';

type Json = Record<string, unknown>;
type Dialect = 'v2' | 'v3';

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const builtinPackages: Readonly<Record<string, string>> = {
  '': 'core',
  'events.k8s.io': 'events',
  'coordination.k8s.io': 'coordination',
};

export class OpenApi {
  readonly #types: readonly ServedType[];
  readonly #version: string;
  readonly #documents = new Map<string, { readonly text: string; readonly hash: string }>();

  constructor(types: readonly ServedType[], version: string) {
    this.#types = types;
    this.#version = version;
  }

  /** The v3 documents there are, each with a hash by which clients keep it. */
  index(): Json {
    const paths = [...new Set(this.#types.map(({ type }) => pathOfGroup(type)))].map((path) => [
      path,
      { serverRelativeURL: `/openapi/v3/${path}?hash=${this.v3(path)!.hash}` },
    ]);
    return { paths: Object.fromEntries(paths) as Json };
  }

  /** The v3 document of `apis/muster.dev/v1alpha1` or `api/v1`; undefined when there is none. */
  v3(path: string): { readonly text: string; readonly hash: string } | undefined {
    const types = this.#types.map(({ type }) => type).filter((type) => pathOfGroup(type) === path);
    if (types.length === 0) return undefined;
    return this.#kept(`v3 ${path}`, () => ({
      openapi: '3.0.0',
      info: { title: 'Muster', version: this.#version },
      paths: pathsOf(types, 'v3'),
      components: { schemas: { ...metaSchemas('v3'), ...kindSchemas(types, 'v3') } },
    }));
  }

  v2(): { readonly text: string; readonly hash: string } {
    const types = this.#types.map(({ type }) => type);
    return this.#kept('v2', () => ({
      swagger: '2.0',
      info: { title: 'Muster', version: this.#version },
      paths: pathsOf(types, 'v2'),
      definitions: { ...metaSchemas('v2'), ...kindSchemas(types, 'v2') },
    }));
  }

  #kept(name: string, make: () => Json): { readonly text: string; readonly hash: string } {
    let document = this.#documents.get(name);
    if (document === undefined) {
      const text = JSON.stringify(make());
      const hash = createHash('sha512').update(text).digest('hex').toUpperCase();
      this.#documents.set(name, (document = { text, hash }));
    }
    return document;
  }
}

const pathOfGroup = ({ group, version }: ResourceType): string =>
  group === '' ? `api/${version}` : `apis/${group}/${version}`;

/** `dev.muster.v1alpha1.ProcessGroup`, `io.k8s.api.core.v1.ConfigMap` */
function schemaName({ group, version, kind }: ResourceType): string {
  const builtin = builtinPackages[group];
  if (builtin !== undefined) return `io.k8s.api.${builtin}.${version}.${kind}`;
  return `${group.split('.').reverse().join('.')}.${version}.${kind}`;
}

const refTo = (name: string, dialect: Dialect): Json => ({
  $ref: `${dialect === 'v3' ? '#/components/schemas' : '#/definitions'}/${name}`,
});

/** A described reference; OpenAPI 3.0 lets nothing stand beside `$ref`. */
const described = (name: string, dialect: Dialect, description: string, more: Json = {}): Json =>
  dialect === 'v3'
    ? { description, ...more, allOf: [refTo(name, dialect)] }
    : { description, ...refTo(name, dialect) };

const kindOf = ({ group, version, kind }: ResourceType): Json => ({ group, kind, version });

function kindSchemas(types: readonly ResourceType[], dialect: Dialect): Json {
  return Object.fromEntries(
    types.flatMap((type) => {
      const name = schemaName(type);
      const schema = published(type.schema ?? { type: 'object' }, dialect);
      const { metadata: _m, apiVersion: _a, kind: _k, ...own } = (schema['properties'] ?? {}) as Json;
      const object = {
        ...schema,
        properties: {
          apiVersion: { type: 'string', description: 'Version of this representation of the object.' },
          kind: { type: 'string', description: 'Kind of the object.' },
          metadata: described(
            `${meta}.ObjectMeta`,
            dialect,
            'What every object has: its name, labels, owners and history.',
            { default: {} },
          ),
          ...own,
        },
        'x-kubernetes-group-version-kind': [kindOf(type)],
      };
      const list = {
        type: 'object',
        description: `A list of ${type.kind} objects.`,
        required: ['items'],
        properties: {
          apiVersion: { type: 'string', description: 'Version of this representation of the list.' },
          items: { type: 'array', description: 'The objects.', items: refTo(name, dialect) },
          kind: { type: 'string', description: 'Kind of the list.' },
          metadata: described(`${meta}.ListMeta`, dialect, 'What every list has.', { default: {} }),
        },
        'x-kubernetes-group-version-kind': [{ ...kindOf(type), kind: `${type.kind}List` }],
      };
      return [
        [name, object],
        [`${name}List`, list],
      ];
    }),
  );
}

/** What OpenAPI v2 has no words for is left out there, as Kubernetes does. */
const notInV2 = new Set(['default', 'nullable', 'anyOf', 'oneOf', 'allOf', 'not']);

function published(schema: JsonSchema, dialect: Dialect): Json {
  const result: Json = {};
  for (const [key, value] of Object.entries(schema as Json)) {
    if (dialect === 'v2' && notInV2.has(key)) continue;
    switch (key) {
      case 'properties':
        result[key] = Object.fromEntries(
          Object.entries(value as Record<string, JsonSchema>).map(([name, inner]) => [
            name,
            published(inner, dialect),
          ]),
        );
        break;
      case 'items':
      case 'additionalProperties':
        result[key] = typeof value === 'object' ? published(value as JsonSchema, dialect) : value;
        break;
      default:
        result[key] = value;
    }
  }
  return result;
}

function metaSchemas(dialect: Dialect): Json {
  const text = (description: string): JsonSchema => ({ type: 'string', description });
  const whole = (description: string): JsonSchema => ({ type: 'integer', format: 'int64', description });
  const own: Record<string, JsonSchema> = {
    ManagedFieldsEntry: managedFieldsEntrySchema,
    OwnerReference: ownerReferenceSchema,
    ListMeta: {
      type: 'object',
      description: 'What every list has.',
      properties: {
        continue: text('Where the next page begins.'),
        remainingItemCount: whole('How many objects come after this page.'),
        resourceVersion: text('Version that the list is of; a watch from there misses nothing.'),
        selfLink: text('No longer used.'),
      },
    },
    DeleteOptions: {
      type: 'object',
      description: 'How an object is deleted.',
      properties: {
        apiVersion: text('Version of this representation of the options.'),
        dryRun: {
          type: 'array',
          items: { type: 'string' },
          description: 'All: only tell what would become of it.',
        },
        gracePeriodSeconds: whole('Taken and not used.'),
        kind: text('Kind of the options.'),
        preconditions: {
          type: 'object',
          description: 'What must be true of the object.',
          properties: { resourceVersion: text('Its version.'), uid: text('Its identity.') },
        },
        propagationPolicy: text('What becomes of the objects it owns: Background, Foreground or Orphan.'),
      },
    },
    Patch: { type: 'object', description: 'A patch, as its content type says.' },
    Status: {
      type: 'object',
      description: 'How a request ended.',
      properties: {
        apiVersion: text('Version of this representation of the status.'),
        code: { type: 'integer', format: 'int32', description: 'The HTTP status code.' },
        details: {
          type: 'object',
          description: 'The object and what is wrong with it.',
          'x-kubernetes-preserve-unknown-fields': true,
        },
        kind: text('Kind of the status.'),
        message: text('How it ended, in words.'),
        reason: text('Why it failed, in one word.'),
        status: text('Success or Failure.'),
      },
    },
  };
  const schemas = Object.fromEntries(
    Object.entries(own).map(([name, schema]) => [`${meta}.${name}`, published(schema, dialect)]),
  );
  const object = published(objectMetaSchema, dialect);
  const properties = object['properties'] as Record<string, Json>;
  for (const [field, kind] of [
    ['managedFields', 'ManagedFieldsEntry'],
    ['ownerReferences', 'OwnerReference'],
  ] as const) {
    properties[field] = { ...properties[field], items: refTo(`${meta}.${kind}`, dialect) };
  }
  return { ...schemas, [`${meta}.ObjectMeta`]: object };
}

interface Parameter {
  readonly name: string;
  readonly type: 'string' | 'boolean' | 'integer';
  readonly description: string;
}

const parameter = (name: string, type: Parameter['type'], description: string): Parameter => ({
  name,
  type,
  description,
});

const readParameters = [
  parameter('allowWatchBookmarks', 'boolean', 'Send bookmarks in a watch.'),
  parameter('continue', 'string', 'Go on with a list at this place.'),
  parameter('fieldSelector', 'string', 'Only objects with these fields.'),
  parameter('labelSelector', 'string', 'Only objects with these labels.'),
  parameter('limit', 'integer', 'At most so many objects.'),
  parameter('resourceVersion', 'string', 'Version that the answer must be of, or begin after.'),
  parameter('resourceVersionMatch', 'string', 'How resourceVersion is meant.'),
  parameter('sendInitialEvents', 'boolean', 'Begin a watch with all objects there are.'),
  parameter('timeoutSeconds', 'integer', 'End a watch after so long.'),
  parameter('watch', 'boolean', 'Tell changes as they come.'),
];
const dryRun = parameter('dryRun', 'string', 'All: only tell what would become of it.');
const writeParameters = [
  dryRun,
  parameter('fieldManager', 'string', 'Who makes the change.'),
  parameter('fieldValidation', 'string', 'What becomes of unknown fields: Ignore, Warn or Strict.'),
];
const force = parameter('force', 'boolean', 'Take fields of an apply from others who own them.');
const deleteParameters = [
  dryRun,
  parameter('propagationPolicy', 'string', 'What becomes of the objects it owns.'),
];

function shownParameter({ name, type, description }: Parameter, dialect: Dialect): Json {
  const place = { name, in: 'query', description };
  return dialect === 'v3'
    ? { ...place, schema: { type, uniqueItems: true } }
    : { ...place, type, uniqueItems: true };
}

function pathsOf(types: readonly ResourceType[], dialect: Dialect): Json {
  return Object.fromEntries(types.flatMap((type) => pathsOfKind(type, dialect)));
}

function pathsOfKind(type: ResourceType, dialect: Dialect): [string, Json][] {
  const root = `/${pathOfGroup(type)}`;
  const collection = type.namespaced
    ? `${root}/namespaces/{namespace}/${type.plural}`
    : `${root}/${type.plural}`;
  const name = schemaName(type);
  const operation = (
    action: string,
    parameters: readonly Parameter[],
    answer: string,
    body?: string,
  ): Json => {
    const content = 'application/json';
    const schema = refTo(answer, dialect);
    const taken = body === undefined ? undefined : refTo(body, dialect);
    const bodyInV2 = taken === undefined ? [] : [{ name: 'body', in: 'body', required: true, schema: taken }];
    const media =
      action === 'patch'
        ? ['application/json-patch+json', 'application/merge-patch+json', 'application/apply-patch+yaml']
        : [content];
    return {
      operationId: `${action}${type.group === '' ? 'Core' : type.group.replaceAll(/[^a-z0-9]/g, '')}${type.version}${type.namespaced ? 'Namespaced' : ''}${type.kind}`,
      tags: [`${type.group}_${type.version}`],
      parameters: [
        ...parameters.map((one) => shownParameter(one, dialect)),
        ...(dialect === 'v2' ? bodyInV2 : []),
      ],
      ...(dialect === 'v3' && taken !== undefined
        ? {
            requestBody: {
              required: true,
              content: Object.fromEntries(media.map((one) => [one, { schema: taken }])),
            },
          }
        : {}),
      ...(dialect === 'v2' ? { consumes: media, produces: [content] } : {}),
      responses: {
        200: {
          description: 'OK',
          ...(dialect === 'v3' ? { content: { [content]: { schema } } } : { schema }),
        },
      },
      'x-kubernetes-action': action,
      'x-kubernetes-group-version-kind': kindOf(type),
    };
  };
  const pathParameter = (one: string, description: string): Json => ({
    name: one,
    in: 'path',
    required: true,
    description,
    ...(dialect === 'v3'
      ? { schema: { type: 'string', uniqueItems: true } }
      : { type: 'string', uniqueItems: true }),
  });
  const inNamespace = type.namespaced ? [pathParameter('namespace', 'Namespace of the object.')] : [];
  const ofObject = [pathParameter('name', 'Name of the object.'), ...inNamespace];
  const status = `${meta}.Status`;
  const changes = (answer: string): Json => ({
    get: operation('get', [], answer),
    put: operation('put', writeParameters, answer, answer),
    patch: operation('patch', [...writeParameters, force], answer, `${meta}.Patch`),
  });
  const list = operation('list', readParameters, `${name}List`);
  return [
    [
      collection,
      {
        get: list,
        post: operation('post', writeParameters, name, name),
        delete: operation(
          'deletecollection',
          [...readParameters, ...deleteParameters],
          status,
          `${meta}.DeleteOptions`,
        ),
        parameters: inNamespace,
      },
    ],
    [
      `${collection}/{name}`,
      {
        ...changes(name),
        delete: operation('delete', deleteParameters, status, `${meta}.DeleteOptions`),
        parameters: ofObject,
      },
    ],
    ...subresourcesOf(type)
      .filter((subresource) => subresource === 'status')
      .map((subresource): [string, Json] => [
        `${collection}/{name}/${subresource}`,
        { ...changes(name), parameters: ofObject },
      ]),
    ...(type.namespaced ? [[`${root}/${type.plural}`, { get: list }] as [string, Json]] : []),
  ];
}
