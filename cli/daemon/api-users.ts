/**
 * Who calls the API over TLS: the subject of a client certificate that our authority signed, else the user of a bearer token.
 * Nodes' certificates are of the same authority and are users without roles.
 */
import type { IncomingMessage } from 'node:http';
import { TLSSocket, type PeerCertificate } from 'node:tls';
import type { User } from '../../store/server/routes.ts';
import type { ApiTokens } from './api-tokens.ts';

const known = new WeakMap<TLSSocket, User | undefined>();

export const isTls = (request: IncomingMessage): boolean => request.socket instanceof TLSSocket;

export function tlsUser(request: IncomingMessage, tokens: ApiTokens, nowMs: number): User | undefined {
  const socket = request.socket as TLSSocket;
  if (!known.has(socket))
    known.set(socket, socket.authorized ? userOf(socket.getPeerCertificate()) : undefined);
  const [scheme, token] = (request.headers.authorization ?? '').split(' ');
  return (
    known.get(socket) ??
    (scheme?.toLowerCase() === 'bearer' && token !== undefined ? tokens.userOf(token, nowMs) : undefined)
  );
}

/** CN is the name and each O a group, as in Kubernetes. */
function userOf({ subject }: PeerCertificate): User | undefined {
  const { CN, O } = (subject ?? {}) as { CN?: string | string[]; O?: string | string[] };
  const [name] = [CN ?? []].flat();
  if (name === undefined || name === '') return undefined;
  return { name, groups: [...[O ?? []].flat(), 'system:authenticated'] };
}
