/**
 * The schema of `metadata`, which is the same for every kind: what `kubectl explain` shows, what counts as an unknown field
 * and who may own which part of it. What its values may be is `metadata.ts`. Data only.
 */
import type { JsonSchema } from '../crds/definitions.ts';

const text = (description: string): JsonSchema => ({ type: 'string', description });
const time = (description: string): JsonSchema => ({ type: 'string', format: 'date-time', description });
const texts = (description: string): JsonSchema => ({
  type: 'object',
  additionalProperties: { type: 'string' },
  description,
});

export const ownerReferenceSchema: JsonSchema = {
  type: 'object',
  description: 'An object that this one belongs to and goes with.',
  required: ['apiVersion', 'kind', 'name', 'uid'],
  'x-kubernetes-map-type': 'atomic',
  properties: {
    apiVersion: text("Group and version of the owner's kind."),
    blockOwnerDeletion: {
      type: 'boolean',
      description: 'The owner waits for this object when it is deleted in the foreground.',
    },
    controller: { type: 'boolean', description: 'The owner is the one that manages this object.' },
    kind: text("The owner's kind."),
    name: text("The owner's name."),
    uid: text("The owner's uid."),
  },
};

export const managedFieldsEntrySchema: JsonSchema = {
  type: 'object',
  description: 'What one manager owns of the object.',
  properties: {
    apiVersion: text('Version that the fields belong to.'),
    fieldsType: text('How fieldsV1 is written: FieldsV1.'),
    fieldsV1: {
      type: 'object',
      description: 'The fields as a tree.',
      'x-kubernetes-preserve-unknown-fields': true,
    },
    manager: text('Name of the manager.'),
    operation: text('Apply or Update.'),
    subresource: text('Subresource through which it wrote, if any.'),
    time: time('When it last changed what it owns.'),
  },
};

export const objectMetaSchema: JsonSchema = {
  type: 'object',
  description: 'What every object has: its name, labels, owners and history.',
  properties: {
    annotations: texts('Values for tools and people, by name. Objects cannot be selected by them.'),
    creationTimestamp: time('When the object was made. Set by the server.'),
    deletionGracePeriodSeconds: {
      type: 'integer',
      format: 'int64',
      description: 'Seconds that the deletion may take. Set by the server.',
    },
    deletionTimestamp: time(
      'When the deletion was asked for; the object goes once it has no finalizers. Set by the server.',
    ),
    finalizers: {
      type: 'array',
      description: 'Who has to finish something before the object may go.',
      items: { type: 'string' },
      'x-kubernetes-list-type': 'set',
    },
    generateName: text('Beginning of a name that the server completes, used when there is no name.'),
    generation: {
      type: 'integer',
      format: 'int64',
      description: 'Counts the changes of what is wanted. Set by the server.',
    },
    labels: texts('Names and values by which objects are selected.'),
    managedFields: {
      type: 'array',
      description: 'Who owns which fields. Kept by the server.',
      items: managedFieldsEntrySchema,
      'x-kubernetes-list-type': 'atomic',
    },
    name: text('Name, unique in the namespace for the kind. Cannot be changed.'),
    namespace: text(
      'Namespace that the name is unique in; absent on objects of the whole cluster. Cannot be changed.',
    ),
    ownerReferences: {
      type: 'array',
      description: 'Objects that this one belongs to: it is deleted when all of them are gone.',
      items: ownerReferenceSchema,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['uid'],
    },
    resourceVersion: text('Version of the object, to be compared for equality only. Set by the server.'),
    selfLink: text('No longer used.'),
    uid: text('Identity of the object, which no other ever has. Set by the server.'),
  },
};

const whole = new WeakMap<JsonSchema, JsonSchema>();
const untyped: JsonSchema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };

/** A kind's schema with the metadata every kind has; without one, only the metadata is known. */
export function objectSchemaOf(schema: JsonSchema = untyped): JsonSchema {
  let complete = whole.get(schema);
  if (complete === undefined) {
    complete = { ...schema, properties: { ...schema.properties, metadata: objectMetaSchema } };
    whole.set(schema, complete);
  }
  return complete;
}
