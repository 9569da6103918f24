/**
 * What a controller tells Prometheus and the kubelet over plain HTTP: /metrics, /healthz (this process turns), /readyz (it listens for
 * agents). Nothing there is secret, nothing can be changed through it; low cardinality, units in names.
 */
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Standing } from '../../controllers/hub/node-table.ts';

export interface MetricsSource {
  readonly ready: () => boolean;
  readonly leading: () => boolean;
  /** Standing of each node, of which only the leader knows. */
  readonly nodes: () => Iterable<Standing>;
}

export interface MetricsServer extends AsyncDisposable {
  readonly port: number;
}

const standings = ['Connected', 'Away', 'Lost'] as const satisfies readonly Standing[];

export function registryOf({ leading, nodes }: MetricsSource): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const leader: Gauge = new Gauge({
    name: 'muster_leading',
    help: '1 on the controller that leads, 0 on the others.',
    registers: [],
    collect: () => leader.set(leading() ? 1 : 0),
  });
  const byStanding: Gauge<'standing'> = new Gauge({
    name: 'muster_nodes',
    help: 'Nodes by standing of their agent, as the leader sees them.',
    labelNames: ['standing'],
    registers: [],
    collect: () => {
      byStanding.reset();
      if (!leading()) return;
      const counts = new Map<Standing, number>(standings.map((standing) => [standing, 0]));
      for (const standing of nodes()) counts.set(standing, (counts.get(standing) ?? 0) + 1);
      for (const [standing, count] of counts) byStanding.set({ standing }, count);
    },
  });
  registry.registerMetric(leader);
  registry.registerMetric(byStanding);
  return registry;
}

export async function startMetrics(
  listen: { readonly host: string; readonly port: number },
  source: MetricsSource,
): Promise<MetricsServer> {
  const registry = registryOf(source);
  const server: Server = createServer((request, response) => {
    const answer = (status: number, text: string, type = 'text/plain'): void => {
      response.writeHead(status, { 'content-type': type });
      response.end(text);
    };
    const path = request.url?.split('?')[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') answer(405, 'GET only\n');
    else if (path === '/healthz') answer(200, 'ok\n');
    else if (path === '/readyz')
      answer(source.ready() ? 200 : 503, source.ready() ? 'ok\n' : 'not listening for agents yet\n');
    else if (path === '/metrics') {
      registry.metrics().then(
        (text) => answer(200, text, registry.contentType),
        (error: unknown) => answer(500, `${String(error)}\n`),
      );
    } else answer(404, '/metrics, /healthz, /readyz\n');
  });
  server.listen(listen.port, listen.host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await Promise.resolve();
    },
  };
}
