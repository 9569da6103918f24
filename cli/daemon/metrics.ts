/**
 * What a controller tells Prometheus and the kubelet over plain HTTP: /metrics, /healthz (this process turns), /readyz (it listens for
 * agents). Nothing there is secret, nothing can be changed through it; low cardinality, units in names.
 */
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { PlaneMetrics } from '../../controllers/plane-metrics.ts';

export interface MetricsSource {
  readonly ready: () => boolean;
  readonly metrics: Pick<PlaneMetrics, 'text' | 'contentType'>;
}

export interface MetricsServer extends AsyncDisposable {
  readonly port: number;
}

export async function startMetrics(
  listen: { readonly host: string; readonly port: number },
  source: MetricsSource,
): Promise<MetricsServer> {
  const { metrics } = source;
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
      metrics.text().then(
        (text) => answer(200, text, metrics.contentType),
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
