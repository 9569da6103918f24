/**
 * The few kinds of Kubernetes itself that Muster's own store keeps, with what kubectl prints, explains and selects of them.
 * Their schemas say what people use; they are not checked when objects are stored.
 */
import type { JsonSchema } from '../crds/definitions.ts';
import { durationText } from './duration.ts';
import type { KubernetesObject } from './object-store.ts';
import { builtinTypes, type PrinterColumn, type ResourceType } from './resource.ts';

type Fields = Record<string, unknown>;

const text = (description: string): JsonSchema => ({ type: 'string', description });
const time = (description: string): JsonSchema => ({ type: 'string', format: 'date-time', description });
const count = (description: string): JsonSchema => ({ type: 'integer', format: 'int32', description });
const texts = (description: string): JsonSchema => ({
  type: 'object',
  additionalProperties: { type: 'string' },
  description,
});
const bytes = (description: string): JsonSchema => ({
  type: 'object',
  additionalProperties: { type: 'string', format: 'byte' },
  description,
});

export const objectReferenceSchema: JsonSchema = {
  type: 'object',
  'x-kubernetes-map-type': 'atomic',
  properties: {
    apiVersion: text('Group and version.'),
    fieldPath: text('A part of the object.'),
    kind: text('Kind.'),
    name: text('Name.'),
    namespace: text('Namespace.'),
    resourceVersion: text('Version of the object.'),
    uid: text('Identity of the object.'),
  },
};

const age: PrinterColumn = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

function computed(
  name: string,
  type: string,
  cell: (object: Fields, nowMs: number) => unknown,
  priority = 0,
): PrinterColumn {
  return {
    name,
    type,
    jsonPath: '',
    priority,
    cell: (object, nowMs) => cell(object as unknown as Fields, nowMs),
  };
}

const sizeOf = (value: unknown): number =>
  typeof value === 'object' && value !== null ? Object.keys(value).length : 0;

function sinceText(value: unknown, nowMs: number): string {
  const then = typeof value === 'string' ? Date.parse(value) : NaN;
  return Number.isNaN(then) ? '<unknown>' : durationText(nowMs - then);
}

const textIn = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : '';
const regardingOf = (event: Fields): Fields =>
  (event['regarding'] ?? event['involvedObject'] ?? {}) as Fields;
const seriesOf = (event: Fields): Fields => (event['series'] ?? {}) as Fields;
const lastSeen = (event: Fields): unknown =>
  seriesOf(event)['lastObservedTime'] ??
  event['deprecatedLastTimestamp'] ??
  event['lastTimestamp'] ??
  event['eventTime'];

/** Of both forms of Event; the name comes last. */
export const eventColumns: readonly PrinterColumn[] = [
  computed('Last Seen', 'string', (event, nowMs) => sinceText(lastSeen(event), nowMs)),
  { name: 'Type', type: 'string', jsonPath: '.type' },
  { name: 'Reason', type: 'string', jsonPath: '.reason' },
  computed('Object', 'string', (event) => {
    const { kind, name } = regardingOf(event) as { kind?: string; name?: string };
    return `${(kind ?? '').toLowerCase()}/${name ?? ''}`;
  }),
  computed(
    'Source',
    'string',
    (event) => event['reportingController'] ?? event['reportingComponent'] ?? '',
    1,
  ),
  computed('Message', 'string', (event) => textIn(event['note'] ?? event['message']).trim()),
  computed(
    'First Seen',
    'string',
    (event, nowMs) => sinceText(event['eventTime'] ?? event['firstTimestamp'], nowMs),
    1,
  ),
  computed('Count', 'string', (event) => textIn(seriesOf(event)['count'] ?? event['count'] ?? 1), 1),
  { name: 'Name', type: 'string', jsonPath: '.metadata.name', priority: 1 },
];

const details: Partial<Record<keyof typeof builtinTypes, Partial<ResourceType>>> = {
  namespace: {
    printerColumns: [{ name: 'Status', type: 'string', jsonPath: '.status.phase' }, age],
    selectableFields: ['.status.phase'],
    schema: {
      type: 'object',
      description: 'A place for names: objects in different namespaces may have the same name.',
      properties: {
        spec: {
          type: 'object',
          description: 'Kept by the server.',
          properties: {
            finalizers: {
              type: 'array',
              items: { type: 'string' },
              description: 'Who empties the namespace before it goes.',
              'x-kubernetes-list-type': 'atomic',
            },
          },
        },
        status: {
          type: 'object',
          description: 'Where the namespace stands.',
          properties: { phase: text('Active, or Terminating while it is emptied.') },
        },
      },
    },
  },
  secret: {
    printerColumns: [
      { name: 'Type', type: 'string', jsonPath: '.type' },
      computed('Data', 'string', (secret) => String(sizeOf(secret['data']))),
      age,
    ],
    selectableFields: ['.type'],
    schema: {
      type: 'object',
      description: 'Values that few may read.',
      properties: {
        data: bytes('The values, each in base64.'),
        immutable: { type: 'boolean', description: 'Nothing may change any more.' },
        stringData: texts('Values as text, for writing only.'),
        type: text('What kind of secret it is.'),
      },
    },
  },
  configMap: {
    printerColumns: [
      computed('Data', 'string', (map) => String(sizeOf(map['data']) + sizeOf(map['binaryData']))),
      age,
    ],
    schema: {
      type: 'object',
      description: 'Values for programs to read.',
      properties: {
        binaryData: bytes('Values that are no text, in base64.'),
        data: texts('The values.'),
        immutable: { type: 'boolean', description: 'Nothing may change any more.' },
      },
    },
  },
  event: {
    printerColumns: eventColumns,
    selectableFields: [
      ...['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].map(
        (field) => `.regarding.${field}`,
      ),
      '.reason',
      '.reportingController',
      '.type',
    ],
    schema: {
      type: 'object',
      description: 'Something that happened to an object, told for people.',
      required: ['eventTime'],
      properties: {
        action: text('What was done.'),
        deprecatedCount: count('How often it happened, of old.'),
        deprecatedFirstTimestamp: time('When it happened first, of old.'),
        deprecatedLastTimestamp: time('When it happened last, of old.'),
        deprecatedSource: {
          type: 'object',
          description: 'Who tells it, of old.',
          properties: { component: text('The component.'), host: text('The node it runs on.') },
        },
        eventTime: time('When it happened first.'),
        note: text('What happened, in words.'),
        reason: text('Why, in one word.'),
        regarding: { ...objectReferenceSchema, description: 'The object it happened to.' },
        related: { ...objectReferenceSchema, description: 'Another object that has to do with it.' },
        reportingController: text('The controller that tells it.'),
        reportingInstance: text('Which of its instances.'),
        series: {
          type: 'object',
          description: 'How it went on happening.',
          properties: { count: count('How often.'), lastObservedTime: time('When last.') },
        },
        type: text('Normal or Warning.'),
      },
    },
  },
  lease: {
    printerColumns: [{ name: 'Holder', type: 'string', jsonPath: '.spec.holderIdentity' }, age],
    schema: {
      type: 'object',
      description: 'Who holds something for a while, such as the leadership of controllers.',
      properties: {
        spec: {
          type: 'object',
          description: 'The lease.',
          properties: {
            acquireTime: time('When the holder got it.'),
            holderIdentity: text('Who holds it.'),
            leaseDurationSeconds: count('How long others wait after the last renewal.'),
            leaseTransitions: count('How often the holder has changed.'),
            preferredHolder: text('Who should have it next.'),
            renewTime: time('When the holder last renewed it.'),
            strategy: text('How the next holder is chosen.'),
          },
        },
      },
    },
  },
};

/** The built-in kinds in full. */
export const builtinKinds: readonly ResourceType[] = Object.entries(builtinTypes).map(([name, type]) => ({
  ...type,
  builtin: true,
  ...details[name as keyof typeof builtinTypes],
}));

/** What a new object of these kinds gets that its author left out. */
export function completed(object: KubernetesObject): KubernetesObject {
  switch (object.kind) {
    case 'Secret': {
      const { stringData, ...secret } = object as KubernetesObject & {
        stringData?: Record<string, string>;
        data?: object;
      };
      const added = Object.fromEntries(
        Object.entries(stringData ?? {}).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
      );
      return {
        type: 'Opaque',
        ...secret,
        ...(stringData === undefined ? {} : { data: { ...secret.data, ...added } }),
      } as KubernetesObject;
    }
    case 'Namespace': {
      const { name } = object.metadata;
      const labels = {
        ...object.metadata.labels,
        ...(name === undefined ? {} : { 'kubernetes.io/metadata.name': name }),
      };
      return {
        ...object,
        metadata: { ...object.metadata, labels },
        spec: { finalizers: ['kubernetes'] },
        status: { phase: object.metadata.deletionTimestamp === undefined ? 'Active' : 'Terminating' },
      } as KubernetesObject;
    }
    default:
      return object;
  }
}
