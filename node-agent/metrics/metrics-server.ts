// GET /metrics over TLS for whoever has a certificate of the cluster's authority or the bearer token of a file; anybody else is told
// 401 and nothing more. The file is read anew for each request that brings a token, so that tokens can be changed.
import { createHash, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { TlsMaterial } from '../tls.ts';

export interface MetricsServerOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsMaterial;
  /** Holds the token; absent: certificates only. */
  readonly tokenFile?: string | undefined;
  readonly contentType: string;
  readonly text: () => Promise<string>;
}

export interface MetricsServer extends AsyncDisposable {
  readonly port: number;
}

const mostConnections = 32;

export async function startMetricsServer(options: MetricsServerOptions): Promise<MetricsServer> {
  const { tls, text, contentType } = options;
  const server = createServer(
    { ca: tls.ca, cert: tls.cert, key: tls.key, requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      const answer = (status: number, body: string, type = 'text/plain') => {
        response.writeHead(status, { 'content-type': type });
        response.end(body);
      };
      if (!mayRead(request, options.tokenFile)) {
        response.setHeader('www-authenticate', 'Bearer');
        return answer(401, 'a certificate of the cluster or the bearer token is needed\n');
      }
      if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'GET only\n');
      if (request.url?.split('?')[0] !== '/metrics') return answer(404, '/metrics\n');
      text().then(
        (body) => {
          answer(200, body, contentType);
        },
        (error: unknown) => {
          answer(500, `${String(error)}\n`);
        },
      );
    },
  );
  server.maxConnections = mostConnections;
  server.requestTimeout = 10_000;
  server.on('tlsClientError', () => undefined);
  server.listen(options.port, options.host);
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

function mayRead(request: IncomingMessage, tokenFile: string | undefined): boolean {
  if ((request.socket as TLSSocket).authorized) return true;
  const given = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (given === undefined || tokenFile === undefined) return false;
  let token: string;
  try {
    token = readFileSync(tokenFile, 'utf8').trim();
  } catch {
    return false;
  }
  return token !== '' && timingSafeEqual(digestOf(given), digestOf(token));
}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();
