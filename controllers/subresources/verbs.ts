/**
 * The imperative verbs on groups and nodes, as routes of an API server: the same on Kubernetes' aggregated API and on the file
 * store's. Each asks for a right of its own; nothing that they do is stored.
 */
import { annotations } from '../../crds/names.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore, StoreError } from '../../store/object-store.ts';
import type { RouteContext, Routes } from '../../store/server/routes.ts';
import type { Hub } from '../hub/hub.ts';
import { restoredGroup, restoreNameOf } from '../process-group/restore.ts';
import { checkpointType, processGroupType } from '../resource-types.ts';
import { serveAttach } from './attach.ts';
import { serveExec } from './exec.ts';
import type { GroupBook } from './group-book.ts';
import { groupOf, ranksOf, requireUnfinished, throughHub } from './group-request.ts';
import type { InputDesk } from './input-desk.ts';
import { serveLog } from './log.ts';
import { type GroupVerb, type NodeVerb, nodeVerbs, verbsBase, verbsDiscovery, verbsGroup } from './paths.ts';
import { takeShown } from './shown.ts';
import { measuredRankRows } from './rank-rows.ts';
import { nodeTimelineOf, rankTimelinesOf } from './samples.ts';
import { nodeSandboxesOf, nodeTopOf, requireKnownNode, topRowsOf } from './top-rows.ts';

export interface VerbPorts {
  readonly store: ObjectStore;
  readonly hub: Hub;
  readonly groups: GroupBook;
  readonly inputs: InputDesk;
  end(group: ProcessGroup, now: boolean): Promise<void>;
  /** The client that started the group in the foreground is there, or has gone. */
  lease(uid: string, present: boolean): void;
  failed(error: unknown, message: string): void;
}

const success = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' };

export function addVerbs(routes: Routes, ports: VerbPorts): void {
  const { store, hub } = ports;
  const onGroup = (
    method: string,
    verb: GroupVerb,
    handler: (context: RouteContext) => Promise<void>,
  ): void => routes.add(method, `${verbsBase}/namespaces/{namespace}/processgroups/{name}/${verb}`, handler);
  for (const [path, document] of verbsDiscovery()) {
    routes.add('GET', path, async (context) => {
      await context.requireAccess({ verb: 'get' });
      context.sendJson(200, document);
    });
  }
  onGroup('GET', 'log', (context) => serveLog(context, ports));
  onGroup('POST', 'shown', (context) => takeShown(context, ports));
  onGroup('GET', 'attach', (context) => serveAttach(context, ports));
  onGroup('GET', 'exec', (context) => serveExec(context, ports));
  onGroup('GET', 'ps', async (context) => {
    const group = await groupOf(context, store, 'ps');
    context.sendJson(200, { ranks: await measuredRankRows(await wholeOf(group, store), hub) });
  });
  onGroup('GET', 'top', async (context) => {
    const group = await groupOf(context, store, 'top');
    context.sendJson(200, { sandboxes: topRowsOf(group, hub, Date.now()) });
  });
  onGroup('GET', 'history', async (context) => {
    const group = await groupOf(context, store, 'history');
    const asked = context.query.get('ranks') ?? '';
    const ranks = asked === '' ? '' : ranksOf(asked, group).toString();
    context.sendJson(200, { timelines: await rankTimelinesOf(group, hub, ranks) });
  });
  onGroup('POST', 'signal', (context) => signal(context, ports));
  onGroup('POST', 'kill', async (context) => {
    const group = await groupOf(context, store, 'kill');
    const { now } = await bodyOf(context);
    await ports.end(group, now === true);
    context.sendJson(200, success);
  });
  onGroup('POST', 'detach', async (context) => {
    const group = await groupOf(context, store, 'detach');
    const { namespace, name } = group.metadata;
    const patch = { metadata: { annotations: { [annotations.clientLease.name]: null } } };
    await store.patch(processGroupType, { namespace, name }, { type: 'merge', patch });
    context.sendJson(200, success);
  });
  const onNode = (verb: NodeVerb, answer: (node: string) => unknown): void =>
    routes.add('GET', `${verbsBase}/nodemonitors/{name}/${verb}`, async (context) => {
      const { name = '' } = context.parameters;
      const resource = { group: verbsGroup, resource: 'nodemonitors', subresource: verb, name };
      for (const right of nodeVerbs[verb]) await context.requireAccess({ verb: right, ...resource });
      context.sendJson(200, await answer(name));
    });
  onNode('ps', (node) => ({ sandboxes: nodeSandboxesOf(node, hub) }));
  onNode('top', (node) => nodeTopOf(node, hub));
  onNode('history', (node) => {
    requireKnownNode(node, hub);
    return nodeTimelineOf(node, hub);
  });
}

async function signal(context: RouteContext, ports: VerbPorts): Promise<void> {
  const group = await groupOf(context, ports.store, 'signal');
  const asked = await bodyOf(context);
  const number = asked['signal'];
  if (!Number.isSafeInteger(number) || (number as number) < 1 || (number as number) > 64) {
    throw new StoreError('BadRequest', 'signal: expected a number from 1 to 64');
  }
  const ranks = asked['ranks'] === undefined ? undefined : ranksOf(asked['ranks'], group).toString();
  requireUnfinished(group, 'there is nobody left to signal');
  const outcome = await throughHub(group, () =>
    ports.hub.signal(group.metadata.uid ?? '', number as number, ranks),
  );
  context.sendJson(200, { reached: outcome.reached, message: outcome.problems.join('; ') });
}

async function bodyOf(context: RouteContext): Promise<Readonly<Record<string, unknown>>> {
  const body = await context.json();
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new StoreError('BadRequest', 'the body: expected a JSON object');
  return body as Readonly<Record<string, unknown>>;
}

/** With the programs of the checkpoint that it goes on from, as long as that is there. */
async function wholeOf(group: ProcessGroup, store: Pick<ObjectStore, 'get'>): Promise<ProcessGroup> {
  const name = group.spec.restoreFrom === undefined ? undefined : restoreNameOf(group);
  if (name === undefined) return group;
  try {
    const key = { namespace: group.metadata.namespace, name };
    return restoredGroup(group, await store.get<Checkpoint>(checkpointType, key));
  } catch (error) {
    if (isStoreError(error, 'NotFound')) return group;
    throw error;
  }
}
