/**
 * The HTTPS door for nodes that join: POST /join with a one-time token and a certificate request gives the node its
 * certificate. The only thing that is answered without a client certificate; everything in a request is bounded.
 */
import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { certifyNode, type KeyAndCertificate } from './certificate.ts';
import type { JoinTokens } from './join-tokens.ts';
import { isAccountToken, type NodeJudge } from './service-account.ts';

export interface JoinOptions {
  readonly authority: KeyAndCertificate;
  readonly tokens: JoinTokens;
  /** Of tokens of service accounts, which agents in Pods have; without it there are none. */
  readonly judge?: NodeJudge;
  /** PEM of all authorities that are believed; default: the one that signs. */
  readonly bundle?: string;
  readonly logger: Logger;
  /** A node that has its certificate without having joined, as those on the control plane's own machine. */
  readonly isTaken?: (node: string) => boolean;
  /** What a joined node needs to know beside its certificate, such as the hub's address. */
  readonly welcome: Readonly<Record<string, string>>;
}

/** Agents in Pods come again when two thirds are over; what they hold is of little use to a thief. */
const accountDays = 7;
const mostBytes = 16 * 1024;
const nodeName = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Answers POST /join; false when the request is for somebody else. */
export function joinHandler(
  options: JoinOptions,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  return (request, response) => {
    if (request.url !== '/join') return false;
    answer(options, request).then(
      ({ status, body }) => reply(response, status, body),
      (error: unknown) => {
        options.logger.error({ err: error }, 'join failed');
        reply(response, 500, {
          code: 'MUSTER_JOIN_FAILED',
          message: 'The control plane failed; see its log',
        });
      },
    );
    return true;
  };
}

/** A server of its own for joining. */
export async function startJoinServer(
  listen: { host: string; port: number },
  server: KeyAndCertificate,
  options: JoinOptions,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const handler = joinHandler(options);
  const https: Server = createServer(
    { key: server.key, cert: `${server.cert}\n${options.authority.cert}`, requestTimeout: 10_000 },
    (request, response) => {
      if (!handler(request, response))
        reply(response, 404, { code: 'MUSTER_NOT_FOUND', message: 'POST /join is all there is' });
    },
  );
  const listening = Promise.withResolvers<void>();
  https.once('error', listening.reject);
  https.listen(listen.port, listen.host, listening.resolve);
  await listening.promise;
  const { port } = https.address() as AddressInfo;
  return {
    port,
    close: async () => {
      const closed = Promise.withResolvers<void>();
      https.close(() => closed.resolve());
      https.closeAllConnections();
      await closed.promise;
    },
  };
}

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, string>>;
}

async function answer(
  { authority, bundle, tokens, judge, logger, welcome, isTaken }: JoinOptions,
  request: IncomingMessage,
): Promise<Answer> {
  if (request.method !== 'POST') return bad('POST a JSON object with token, node and csr');
  const fields = fieldsOf(await bodyOf(request));
  if (!fields) return bad('expected a JSON object of at most 16 KiB with the strings token, node and csr');
  const { token, node, csr } = fields;
  if (!nodeName.test(node))
    return bad(`"${node.slice(0, 80)}" is no node name; use lower-case letters, digits, - and .`);
  if (isTaken?.(node)) {
    const message = `Node ${node} runs on the control plane's own machine; take another name (--node)`;
    return { status: 403, body: { code: 'MUSTER_JOIN_NAME_TAKEN', message } };
  }
  let signed: Awaited<ReturnType<typeof certifyNode>>;
  try {
    signed = await certifyNode(authority, node, csr, isAccountToken(token) ? accountDays : undefined);
  } catch {
    return bad('csr is no certificate request in PEM that is signed with its own ECDSA P-256 key');
  }
  const redeemed =
    judge !== undefined && isAccountToken(token)
      ? await judge(token, node)
      : await tokens.redeem(token, node, signed.keyHash);
  if (!redeemed.ok) {
    logger.warn({ node, code: redeemed.code, from: request.socket.remoteAddress }, 'join refused');
    return { status: 403, body: { code: redeemed.code, message: redeemed.message } };
  }
  logger.info({ node, from: request.socket.remoteAddress }, 'node joined');
  return { status: 200, body: { ...welcome, cert: signed.cert, ca: bundle ?? authority.cert } };
}

function bad(message: string): Answer {
  return { status: 400, body: { code: 'MUSTER_JOIN_BAD_REQUEST', message } };
}

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > mostBytes) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function fieldsOf(text: string | undefined): { token: string; node: string; csr: string } | undefined {
  try {
    const { token, node, csr } = JSON.parse(text ?? '') as Record<string, unknown>;
    if (typeof token !== 'string' || typeof node !== 'string' || typeof csr !== 'string') return undefined;
    return { token, node, csr };
  } catch {
    return undefined;
  }
}

function reply(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(`${JSON.stringify(body)}\n`);
}
