/** `muster describe`: one object as a person reads it, its conditions as a table, then its events. */
import { dump } from 'js-yaml';
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { formatTable, plainTable } from '../table.ts';
import { lastAppliedAnnotation } from '../three-way-merge.ts';
import type { AnyObject } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';

interface ConditionLike {
  type: string;
  status: string;
  reason: string;
  message: string;
  lastTransitionTime: string;
}

export async function describe(config: Config, args: string[]): Promise<number> {
  const client = connect(config.server);
  const [word = '', ...names] = args;
  const [type] = client.typesOf(word);
  for (const [index, name] of names.entries()) {
    const namespace = type!.namespaced ? config.namespace : undefined;
    const object = await client.store.get(type!, { namespace, name });
    const events = await eventsOf(client, object);
    if (index > 0) process.stdout.write('\n\n');
    process.stdout.write(describeObject(object, events, config));
  }
  return 0;
}

async function eventsOf(client: ReturnType<typeof connect>, object: AnyObject): Promise<AnyObject[]> {
  const namespace = object.metadata.namespace ?? 'default';
  const { items } = await client.store.list(builtinTypes.event, { namespace }).catch(() => ({ items: [] }));
  return (items as AnyObject[]).filter(
    (event) => (event['regarding'] as { uid?: string } | undefined)?.uid === object.metadata.uid,
  );
}

function describeObject(object: AnyObject, events: readonly AnyObject[], config: Config): string {
  const { metadata } = object;
  const status = { ...(object.status as Record<string, unknown> | undefined) };
  const conditions = (status['conditions'] ?? []) as ConditionLike[];
  delete status['conditions'];
  const annotations = Object.entries(metadata.annotations ?? {}).filter(
    ([name]) => name !== lastAppliedAnnotation,
  );
  const head = [
    ['Name', metadata.name],
    ['Namespace', metadata.namespace],
    ['Labels', pairs(Object.entries(metadata.labels ?? {}))],
    ['Annotations', pairs(annotations)],
    ['Created', metadata.creationTimestamp],
    ['Deleting', metadata.deletionTimestamp],
    ['UID', metadata.uid],
  ].flatMap(([name, value]) => (value === undefined ? [] : [`${`${name}:`.padEnd(14)}${value}\n`]));
  const conditionRows = conditions.map((item) => [
    item.type,
    item.status,
    item.reason,
    item.lastTransitionTime,
    item.message,
  ]);
  const conditionTable = formatTable(
    plainTable(['Condition', 'Status', 'Reason', 'Since', 'Message'], conditionRows),
    {},
    config,
  );
  const eventRows = events.map((event) => [
    event['type'],
    event['reason'],
    event['eventTime'],
    event['note'],
  ]);
  const eventTable = formatTable(plainTable(['Type', 'Reason', 'Time', 'Message'], eventRows), {}, config);
  return [
    ...head,
    section('Spec', object.spec),
    section('Status', Object.keys(status).length === 0 ? undefined : status),
    `\n${conditions.length === 0 ? 'Conditions:   <none>\n' : conditionTable}`,
    `\n${events.length === 0 ? 'Events:       <none>\n' : eventTable}`,
  ].join('');
}

function section(title: string, value: unknown): string {
  if (value === undefined) return '';
  const text = dump(value, { lineWidth: 110, noRefs: true });
  return `${title}:\n${text.replace(/^(?=.)/gm, '  ')}`;
}

const pairs = (entries: [string, string][]): string =>
  entries.length === 0 ? '<none>' : entries.map(([name, value]) => `${name}=${value}`).join(', ');
