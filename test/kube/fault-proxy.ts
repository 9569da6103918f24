/**
 * A proxy in front of the API server that does to its clients what networks and busy servers do: late answers, refusals, watches that
 * are cut or expired, no answer at all. It knows HTTP and the difference between a watch and everything else. It goes on as the
 * administrator, whoever asks.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import type { KubeCluster } from './cluster.ts';

export interface Faults {
  /** Every answer comes so much later. */
  readonly delayMs?: number;
  /** A watch is cut after so long. */
  readonly cutWatchesAfterMs?: number;
  /** Answers instead of the server; undefined lets the request through. */
  readonly refuse?: (request: { method: string; url: string; isWatch: boolean }) => Refusal | undefined;
}

export interface Refusal {
  readonly code: number;
  readonly reason: string;
  readonly retryAfterSeconds?: number;
}

export class FaultProxy implements AsyncDisposable {
  #faults: Faults = {};
  /** Requests so far, and how many were refused. */
  requests = 0;
  refused = 0;
  watches = 0;
  readonly #cluster: KubeCluster;
  readonly #server: https.Server;
  readonly #agent: https.Agent;
  readonly #watches = new Set<http.ServerResponse>();
  readonly #sockets = new Set<Duplex>();
  #port = 0;

  private constructor(cluster: KubeCluster) {
    this.#cluster = cluster;
    const file = (name: string): Buffer => readFileSync(join(cluster.directory, name));
    this.#agent = new https.Agent({ keepAlive: true, ca: cluster.authority, ...cluster.adminTls });
    this.#server = https.createServer(
      { key: file('server.key'), cert: file('server.crt') },
      (request, response) => {
        this.#serve(request, response).catch(() => response.destroy());
      },
    );
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(cluster: KubeCluster): Promise<FaultProxy> {
    const proxy = new FaultProxy(cluster);
    await proxy.up();
    return proxy;
  }

  /** What is done to requests from now on; watches that are under way are cut too, if watches are. */
  set faults(faults: Faults) {
    this.#faults = faults;
    if (faults.cutWatchesAfterMs !== undefined) for (const response of this.#watches) response.destroy();
  }

  /** Path of a kubeconfig whose cluster is reached through here. */
  kubeconfig(): Promise<string> {
    return this.#cluster.kubeconfigOf(undefined, `https://127.0.0.1:${this.#port}`);
  }

  /** Nothing answers any more, and what was under way is cut. */
  async down(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async up(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.down();
    this.#agent.destroy();
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { method = 'GET', url = '/' } = request;
    const isWatch = /[?&]watch=(true|1)/.test(url);
    this.requests += 1;
    if (isWatch) this.watches += 1;
    const { delayMs = 0, cutWatchesAfterMs, refuse } = this.#faults;
    if (delayMs > 0) await pause(delayMs);
    const refusal = refuse?.({ method, url, isWatch });
    if (refusal) {
      this.refused += 1;
      request.resume();
      return answer(response, refusal);
    }
    const { hostname, port } = new URL(this.#cluster.url);
    const headers = { ...request.headers, host: `${hostname}:${port}` };
    const onward = https.request({ hostname, port, method, path: url, headers, agent: this.#agent });
    onward.on('error', () => response.destroy());
    onward.on('response', (reply) => {
      response.writeHead(reply.statusCode ?? 500, reply.headers);
      reply.on('error', () => response.destroy());
      reply.pipe(response);
      if (isWatch) response.flushHeaders();
    });
    response.on('close', () => {
      onward.destroy();
      this.#watches.delete(response);
    });
    if (isWatch) this.#watches.add(response);
    if (isWatch && cutWatchesAfterMs !== undefined) {
      const timer = setTimeout(() => response.destroy(), cutWatchesAfterMs);
      response.once('close', () => clearTimeout(timer));
    }
    request.pipe(onward);
  }
}

function answer(response: http.ServerResponse, { code, reason, retryAfterSeconds }: Refusal): void {
  const details = retryAfterSeconds === undefined ? {} : { details: { retryAfterSeconds } };
  const message = `the fault proxy says ${reason}`;
  const status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', reason, code, message };
  response.writeHead(code, {
    'content-type': 'application/json',
    ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
  });
  response.end(JSON.stringify({ ...status, ...details }));
}
