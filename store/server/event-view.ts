/**
 * Events of the core group, which kubectl reads in `get events` and `describe`, as a view of the events.k8s.io ones that the
 * store keeps. Field by field and back; what one of them lacks is kept in the other's deprecated fields, as Kubernetes does.
 */
import type { JsonSchema } from '../../crds/definitions.ts';
import { eventColumns, objectReferenceSchema } from '../builtin-kinds.ts';
import type { KubernetesObject } from '../object-store.ts';
import type { ResourceType } from '../resource.ts';
import type { View } from './served-type.ts';

type Fields = Record<string, unknown>;

const text = (description: string): JsonSchema => ({ type: 'string', description });
const time = (description: string): JsonSchema => ({ type: 'string', format: 'date-time', description });

/** Core name, name in events.k8s.io. */
const renamed = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
  ['source', 'deprecatedSource'],
  ['reportingComponent', 'reportingController'],
] as const;

const coreEventType: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'Event',
  plural: 'events',
  namespaced: true,
  shortNames: ['ev'],
  statusSubresource: false,
  builtin: true,
  printerColumns: eventColumns,
  selectableFields: [
    ...['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].map(
      (field) => `.involvedObject.${field}`,
    ),
    '.reason',
    '.reportingComponent',
    '.source',
    '.type',
  ],
  schema: {
    type: 'object',
    description: 'Something that happened to an object, told for people.',
    required: ['metadata', 'involvedObject'],
    properties: {
      action: text('What was done.'),
      count: { type: 'integer', format: 'int32', description: 'How often it happened.' },
      eventTime: time('When it happened first.'),
      firstTimestamp: time('When it happened first.'),
      involvedObject: { ...objectReferenceSchema, description: 'The object it happened to.' },
      lastTimestamp: time('When it happened last.'),
      message: text('What happened, in words.'),
      reason: text('Why, in one word.'),
      related: { ...objectReferenceSchema, description: 'Another object that has to do with it.' },
      reportingComponent: text('The controller that tells it.'),
      reportingInstance: text('Which of its instances.'),
      series: {
        type: 'object',
        description: 'How it went on happening.',
        properties: {
          count: { type: 'integer', format: 'int32', description: 'How often.' },
          lastObservedTime: time('When last.'),
        },
      },
      source: {
        type: 'object',
        description: 'Who tells it.',
        properties: { component: text('The component.'), host: text('The node it runs on.') },
      },
      type: text('Normal or Warning.'),
    },
  },
};

export const coreEventView: View = {
  type: coreEventType,
  of: 'events.events.k8s.io',
  show: (stored) => {
    const event = renameFields(stored, 'v1', (core, own) => [own, core]);
    const series = event['series'] as { count?: number; lastObservedTime?: string } | undefined;
    const first = event['eventTime'];
    event['firstTimestamp'] ??= first ?? null;
    event['lastTimestamp'] ??= series?.lastObservedTime ?? first ?? null;
    event['count'] ??= series?.count ?? 1;
    event['source'] ??= { component: event['reportingComponent'] ?? '' };
    return event as unknown as KubernetesObject;
  },
  take: (shown) => {
    const event = renameFields(shown, 'events.k8s.io/v1', (core, own) => [core, own]);
    const source = event['deprecatedSource'] as { component?: string } | undefined;
    event['reportingController'] ??= source?.component;
    for (const key of Object.keys(event))
      if (event[key] === null || event[key] === undefined) delete event[key];
    return event as unknown as KubernetesObject;
  },
  fieldSelector: (selector) =>
    selector
      .split(',')
      .map((part) =>
        part
          .replace(/^\s*involvedObject\./, 'regarding.')
          .replace(/^\s*(reportingComponent|source)(?=[=!])/, 'reportingController'),
      )
      .join(','),
};

function renameFields(
  object: KubernetesObject,
  apiVersion: string,
  direction: (core: string, own: string) => [from: string, to: string],
): Fields {
  const fields: Fields = { ...object, apiVersion };
  for (const [core, own] of renamed) {
    const [from, to] = direction(core, own);
    if (fields[from] === undefined) continue;
    fields[to] = fields[from];
    delete fields[from];
  }
  return fields;
}
