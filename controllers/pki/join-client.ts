/**
 * Joins a node: makes a key that never leaves the node, and gets a certificate for it with a one-time token. The control
 * plane is known by the hash of its authority's key, given on the command line, and by nothing else: the token is not
 * sent before that hash has been found right.
 */
import { type X509Certificate } from 'node:crypto';
import { request } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';
import { authorityHash, makeRequest } from './certificate.ts';

export interface JoinRequest {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly node: string;
  /** SHA-256 of the authority's public key, as `muster token create` prints it, with or without `sha256:`; or of several. */
  readonly caHash: string | readonly string[];
}

export interface Joined {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
  /** What the control plane said beside, such as the hub's address. */
  readonly welcome: Readonly<Record<string, string>>;
}

export class JoinError extends Error {
  override readonly name = 'JoinError';
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.code = code;
  }
}

export async function joinCluster(
  { host, port, token, node, caHash }: JoinRequest,
  signal?: AbortSignal,
): Promise<Joined> {
  const hashes = (typeof caHash === 'string' ? [caHash] : caHash).map((hash) =>
    hash.replace(/^sha256:/, '').toLowerCase(),
  );
  const ca = await pinnedAuthority(host, port, hashes);
  const { key, csr } = await makeRequest(node);
  const { status, body } = await post({ host, port, ca }, JSON.stringify({ token, node, csr }), signal);
  if (status !== 200 || body['cert'] === undefined) {
    throw new JoinError(
      body['code'] ?? 'MUSTER_JOIN_FAILED',
      body['message'] ?? `${host}:${port} answered ${status}`,
    );
  }
  const { cert, ca: bundle = ca, ...welcome } = body;
  return { key, cert, ca: bundle, welcome };
}

/** The authority that the server shows, if it is one that a hash names. */
async function pinnedAuthority(host: string, port: number, wanted: readonly string[]): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<X509Certificate[]>();
  // The chain is judged by its pin below; nothing is sent over this connection.
  const socket: TLSSocket = connect({ host, port, rejectUnauthorized: false }, () =>
    resolve(chainOf(socket)),
  );
  socket.once('error', (error) => {
    reject(
      new JoinError('MUSTER_JOIN_UNREACHABLE', `${host}:${port} cannot be reached: ${error.message}`, {
        cause: error,
      }),
    );
  });
  socket.setTimeout(10_000, () => socket.destroy(new Error('no answer within 10 s')));
  try {
    const chain = await promise;
    const found = chain.find(
      (certificate) => certificate.ca && wanted.includes(authorityHash(certificate.toString())),
    );
    if (found) return found.toString();
    throw new JoinError(
      'MUSTER_JOIN_WRONG_AUTHORITY',
      `${host}:${port} does not belong to the authority sha256:${wanted.join(', ')}; check the address and the hash of \`muster token create\``,
    );
  } finally {
    socket.destroy();
  }
}

function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  for (let peer = socket.getPeerX509Certificate(); peer && chain.length < 8; peer = peer.issuerCertificate) {
    if (chain.some((known) => known.fingerprint256 === peer.fingerprint256)) break;
    chain.push(peer);
  }
  return chain;
}

async function post(
  { host, port, ca }: { host: string; port: number; ca: string },
  text: string,
  signal: AbortSignal | undefined,
): Promise<{ status: number; body: Record<string, string> }> {
  const { promise, resolve, reject } = Promise.withResolvers<{
    status: number;
    body: Record<string, string>;
  }>();
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  // The pin says who is there; the name it is reached by need not stand in its certificate.
  const options = {
    host,
    port,
    ca,
    method: 'POST',
    path: '/join',
    headers,
    agent: false,
    timeout: 10_000,
    checkServerIdentity: () => undefined,
  };
  const sent = request(signal ? { ...options, signal } : options, (response) => {
    const parts: Buffer[] = [];
    response.on('data', (part: Buffer) => parts.push(part));
    response.on('error', reject);
    response.on('end', () => {
      try {
        resolve({
          status: response.statusCode ?? 0,
          body: JSON.parse(Buffer.concat(parts).toString('utf8')) as Record<string, string>,
        });
      } catch (error) {
        reject(new JoinError('MUSTER_JOIN_FAILED', `${host}:${port} gave no JSON answer`, { cause: error }));
      }
    });
  });
  sent.on('timeout', () => sent.destroy(new Error('no answer within 10 s')));
  sent.on('error', (error) =>
    reject(new JoinError('MUSTER_JOIN_UNREACHABLE', `${host}:${port}: ${error.message}`, { cause: error })),
  );
  sent.end(text);
  return promise;
}
