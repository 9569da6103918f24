/**
 * What can be asked of a group beside its object: log, ranks, signal, end, detach; and join tokens. The paths are those that
 * the aggregated API serves on Kubernetes, so a client is the same. Each asks for a right of its own.
 */
import { annotations } from '../../crds/names.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import type { Hub } from '../../controllers/hub/hub.ts';
import type { UnknownSandboxes } from '../../controllers/unknown-sandboxes.ts';
import { StoreError, type ObjectStore } from '../../store/object-store.ts';
import type { ApiServer } from '../../store/server/api-server.ts';
import type { RouteContext } from '../../store/server/routes.ts';
import { processGroupType } from '../client.ts';
import { encodeLogFrame, logFrameType, parsePositions } from '../../wire/log-frames.ts';
import { rankRowsOf } from '../../controllers/subresources/rank-rows.ts';

export interface SubresourcePorts {
  readonly store: ObjectStore;
  readonly hub: Hub;
  readonly unknown: UnknownSandboxes;
  end(group: ProcessGroup, now: boolean): Promise<void>;
  createToken(options: {
    ttlSeconds: number;
    node?: string;
  }): Promise<{ token: string; caHash: string; address: string }>;
}

const base = '/apis/subresources.muster.dev/v1alpha1';
const allRanks = 0xffffffff;

export function addSubresources(server: ApiServer, ports: SubresourcePorts): void {
  const { routes } = server;
  const path = (verb: string): string => `${base}/namespaces/{namespace}/processgroups/{name}/${verb}`;
  routes.add('GET', path('log'), (context) => log(context, ports));
  routes.add('GET', path('ranks'), async (context) => {
    const group = await groupOf(context, ports, 'get', 'ranks');
    context.sendJson(200, { ranks: rankRowsOf(group, ports.hub) });
  });
  routes.add('POST', path('signal'), (context) => signal(context, ports));
  routes.add('POST', path('end'), async (context) => {
    const group = await groupOf(context, ports, 'create', 'end');
    const { now } = (await context.json()) as { now?: unknown };
    await ports.end(group, now === true);
    context.sendJson(200, { kind: 'Status', apiVersion: 'v1', status: 'Success' });
  });
  routes.add('POST', path('detach'), async (context) => {
    const group = await groupOf(context, ports, 'create', 'detach');
    const patch = { metadata: { annotations: { [annotations.clientLease.name]: null } } };
    await ports.store.patch(processGroupType, keyOf(group), { type: 'merge', patch });
    context.sendJson(200, { kind: 'Status', apiVersion: 'v1', status: 'Success' });
  });
  routes.add('GET', `${base}/connectednodes`, async (context) => {
    await context.requireAccess({ verb: 'get', group: 'muster.dev', resource: 'nodemonitors' });
    const { nodes } = ports.hub;
    const connected = [...nodes.all()].filter(({ node }) => nodes.standing(node) === 'Connected');
    context.sendJson(200, { nodes: connected.map(({ node }) => node) });
  });
  const unknown = `${base}/unknownsandboxes`;
  const toUnknown = { group: 'subresources.muster.dev', resource: 'unknownsandboxes' };
  routes.add('GET', unknown, async (context) => {
    await context.requireAccess({ verb: 'get', ...toUnknown });
    context.sendJson(200, { doubt: ports.unknown.doubt ?? null, sandboxes: ports.unknown.list() });
  });
  routes.add('DELETE', unknown, async (context) => {
    await context.requireAccess({ verb: 'delete', ...toUnknown });
    const { groups, all } = (await context.json()) as { groups?: unknown; all?: unknown };
    const count = ports.unknown.list().length;
    if (all === true) {
      await ports.unknown.trust();
      return context.sendJson(200, { told: count });
    }
    if (!Array.isArray(groups) || groups.length === 0 || !groups.every((uid) => typeof uid === 'string'))
      throw new StoreError('BadRequest', 'groups: expected uids of groups, or "all": true');
    context.sendJson(200, { told: ports.unknown.end(groups) });
  });
  routes.add('POST', `${base}/jointokens`, async (context) => {
    await context.requireAccess({ verb: 'create', group: 'subresources.muster.dev', resource: 'jointokens' });
    const { ttlSeconds, node } = (await context.json()) as { ttlSeconds?: unknown; node?: unknown };
    const seconds =
      typeof ttlSeconds === 'number' && ttlSeconds >= 1 && ttlSeconds <= 86_400 * 30 ? ttlSeconds : undefined;
    if (seconds === undefined)
      throw new StoreError('BadRequest', 'ttlSeconds: expected a number from 1 to 2592000');
    context.sendJson(
      201,
      await ports.createToken({ ttlSeconds: seconds, ...(typeof node === 'string' ? { node } : {}) }),
    );
  });
}

export const keyOf = (group: ProcessGroup): { namespace: string; name: string } => ({
  namespace: group.metadata.namespace ?? 'default',
  name: group.metadata.name,
});

async function groupOf(
  context: RouteContext,
  ports: SubresourcePorts,
  verb: string,
  what: string,
): Promise<ProcessGroup> {
  const { namespace = '', name = '' } = context.parameters;
  await context.requireAccess({
    verb,
    group: 'subresources.muster.dev',
    resource: 'processgroups',
    subresource: what,
    namespace,
    name,
  });
  const group = await ports.store.get<ProcessGroup>(processGroupType, { namespace, name });
  const uid = context.query.get('uid');
  if (uid !== null && uid !== '' && uid !== group.metadata.uid) {
    throw new StoreError(
      'NotFound',
      `processgroup ${name} is another one now: the one that was asked for is gone`,
    );
  }
  return group;
}

async function log(context: RouteContext, ports: SubresourcePorts): Promise<void> {
  const group = await groupOf(context, ports, 'get', 'log');
  const { query, response, signal } = context;
  const follow = query.get('follow') === 'true';
  const streams = (query.get('streams') ?? '1,2').split(',').filter((one) => one === '1' || one === '2');
  const tail = query.get('tail');
  let from;
  try {
    from = parsePositions(query.get('from') ?? '');
  } catch (error) {
    throw new StoreError('BadRequest', (error as Error).message);
  }
  response.writeHead(200, {
    'content-type': logFrameType,
    'x-muster-group-uid': group.metadata.uid ?? '',
    'cache-control': 'no-store',
  });
  response.flushHeaders();
  const write = async (bytes: Buffer): Promise<void> => {
    if (response.write(bytes) || signal.aborted) return;
    await new Promise<void>((resolve) => {
      response.once('drain', resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  };
  const placed = await untilPlaced(group, ports, follow, signal);
  if (placed) {
    const options = {
      ...(query.get('ranks') === null ? {} : { ranks: query.get('ranks')! }),
      streams: streams.map((one) => (one === '1' ? 1 : 2)),
      from,
      follow,
      ...(tail === null ? {} : { tailLines: Number(tail) }),
    } as const;
    for await (const chunk of ports.hub.openLogs(group.metadata.uid ?? '', options, signal)) {
      const error = chunk.error !== '';
      const bytes = error ? Buffer.from(`node ${chunk.node}: ${chunk.error}`) : chunk.data;
      await write(
        encodeLogFrame({
          rank: chunk.rank,
          stream: chunk.stream,
          offset: chunk.offset,
          end: chunk.end,
          error,
          bytes,
        }),
      );
    }
  }
  if (!signal.aborted) {
    await write(
      encodeLogFrame({
        rank: allRanks,
        stream: 0,
        offset: 0,
        end: true,
        error: false,
        bytes: Buffer.alloc(0),
      }),
    );
  }
  response.end();
}

/** A reader who follows may come before the ranks have a node. */
async function untilPlaced(
  group: ProcessGroup,
  ports: SubresourcePorts,
  follow: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  const uid = group.metadata.uid ?? '';
  if (ports.hub.desired.sandboxesOf(uid).length > 0) return true;
  if (!follow || ended(group)) return false;
  const options = { namespace: group.metadata.namespace, resourceVersion: group.metadata.resourceVersion };
  for await (const event of ports.store.watch<ProcessGroup>(processGroupType, options, signal)) {
    if (event.type === 'BOOKMARK' || event.object.metadata.uid !== uid) continue;
    if (event.type === 'DELETED') return false;
    if (ports.hub.desired.sandboxesOf(uid).length > 0) return true;
    if (ended(event.object)) return false;
  }
  return false;
}

const ended = (group: ProcessGroup): boolean =>
  (group.status?.conditions ?? []).some(
    ({ type, status }) =>
      status === 'True' && (type === 'Succeeded' || type === 'Failed' || type === 'Stalled'),
  );

async function signal(context: RouteContext, ports: SubresourcePorts): Promise<void> {
  const group = await groupOf(context, ports, 'create', 'signal');
  const asked = (await context.json()) as { signal?: unknown; ranks?: unknown };
  if (!Number.isSafeInteger(asked.signal) || (asked.signal as number) < 1 || (asked.signal as number) > 64) {
    throw new StoreError('BadRequest', 'signal: expected a number from 1 to 64');
  }
  const ranks = typeof asked.ranks === 'string' ? asked.ranks : undefined;
  const outcome = await ports.hub.signal(group.metadata.uid ?? '', asked.signal as number, ranks);
  context.sendJson(200, { reached: outcome.reached, message: outcome.problems.join('; ') });
}
