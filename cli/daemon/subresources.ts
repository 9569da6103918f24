/**
 * What this machine's control plane serves beside objects and the verbs on them: which agents are connected, tokens with
 * which others join, and sandboxes that the store does not know. Kubernetes has its own ways for both.
 */
import type { Hub } from '../../controllers/hub/hub.ts';
import type { UnknownSandboxes } from '../../controllers/unknown-sandboxes.ts';
import { verbsBase, verbsGroup } from '../../controllers/subresources/paths.ts';
import type { PlaneMetrics } from '../../controllers/plane-metrics.ts';
import { StoreError } from '../../store/object-store.ts';
import type { Routes } from '../../store/server/routes.ts';

export interface MachinePorts {
  readonly metrics: Pick<PlaneMetrics, 'text' | 'contentType'>;
  readonly hub: Hub;
  readonly unknown: UnknownSandboxes;
  createToken(options: {
    ttlSeconds: number;
    node?: string;
  }): Promise<{ token: string; caHash: string; address: string }>;
}

const longestTokenSeconds = 86_400 * 30;

export function addMachineRoutes(routes: Routes, ports: MachinePorts): void {
  routes.add('GET', `${verbsBase}/connectednodes`, async (context) => {
    await context.requireAccess({ verb: 'get', group: 'muster.dev', resource: 'nodemonitors' });
    const { nodes } = ports.hub;
    const connected = [...nodes.all()].filter(({ node }) => nodes.standing(node) === 'Connected');
    context.sendJson(200, { nodes: connected.map(({ node }) => node) });
  });
  routes.add('GET', '/metrics', async (context) => {
    await context.requireAccess({ verb: 'get' });
    const text = await ports.metrics.text();
    context.response.writeHead(200, { 'content-type': ports.metrics.contentType }).end(text);
  });
  const unknown = `${verbsBase}/unknownsandboxes`;
  const toUnknown = { group: verbsGroup, resource: 'unknownsandboxes' };
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
  routes.add('POST', `${verbsBase}/jointokens`, async (context) => {
    await context.requireAccess({ verb: 'create', group: verbsGroup, resource: 'jointokens' });
    const { ttlSeconds, node } = (await context.json()) as { ttlSeconds?: unknown; node?: unknown };
    if (typeof ttlSeconds !== 'number' || !(ttlSeconds >= 1) || ttlSeconds > longestTokenSeconds)
      throw new StoreError('BadRequest', `ttlSeconds: expected a number from 1 to ${longestTokenSeconds}`);
    context.sendJson(
      201,
      await ports.createToken({ ttlSeconds, ...(typeof node === 'string' ? { node } : {}) }),
    );
  });
}
