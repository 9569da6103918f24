/**
 * Who a request of an aggregated API is from: the API server in front has authenticated the user and says so in headers, and it is
 * believed because it shows the front proxy's certificate. Anybody else who sends such headers is nobody. How the proxy is known
 * stands in a ConfigMap that every cluster has.
 */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { type AnyObject, type ObjectStore, StoreError } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';
import type { User } from '../../store/server/routes.ts';

export interface RequestHeaderConfig {
  /** PEM of the authority of the front proxy's certificate, and of that alone. */
  readonly ca: string;
  /** Common names that the certificate may have; any when empty. */
  readonly allowedNames: readonly string[];
  readonly userHeaders: readonly string[];
  readonly uidHeaders: readonly string[];
  readonly groupHeaders: readonly string[];
  readonly extraPrefixes: readonly string[];
}

const configMap = { namespace: 'kube-system', name: 'extension-apiserver-authentication' };

/** Throws StoreError when it cannot be read, or names no authority: then nobody could be believed. */
export async function readRequestHeaderConfig(
  store: Pick<ObjectStore, 'get'>,
  signal?: AbortSignal,
): Promise<RequestHeaderConfig> {
  const { data = {} } = await store.get<AnyObject & { data?: Record<string, string> }>(
    builtinTypes.configMap,
    configMap,
    signal,
  );
  const ca = data['requestheader-client-ca-file'];
  const where = `configmap ${configMap.namespace}/${configMap.name}`;
  if (ca === undefined || ca === '') {
    throw new StoreError(
      'Unavailable',
      `${where} has no requestheader-client-ca-file: the API server serves no aggregated APIs; start it with --requestheader-client-ca-file`,
    );
  }
  const list = (key: string, otherwise: readonly string[]): string[] => {
    try {
      const names: unknown = JSON.parse(data[`requestheader-${key}`] ?? '[]');
      if (!Array.isArray(names) || !names.every((name) => typeof name === 'string'))
        throw new Error('no list of texts');
      return names.length === 0 ? [...otherwise] : names;
    } catch (cause) {
      throw new StoreError(
        'Unavailable',
        `${where}: requestheader-${key}: expected a JSON list of texts`,
        {},
        { cause },
      );
    }
  };
  return {
    ca,
    allowedNames: list('allowed-names', []),
    userHeaders: list('username-headers', ['X-Remote-User']),
    uidHeaders: list('uid-headers', ['X-Remote-Uid']),
    groupHeaders: list('group-headers', ['X-Remote-Group']),
    extraPrefixes: list('extra-headers-prefix', ['X-Remote-Extra-']),
  };
}

/** Undefined: it does not come from the front proxy, or names nobody. */
export function requestHeaderUser(request: IncomingMessage, config: RequestHeaderConfig): User | undefined {
  return isFrontProxy(request.socket as TLSSocket, config)
    ? userOfHeaders(request.headersDistinct, config)
    : undefined;
}

function isFrontProxy(socket: TLSSocket, { allowedNames }: RequestHeaderConfig): boolean {
  if (!socket.authorized) return false;
  // A resumed session may be "authorized" without a certificate.
  const certificate = socket.getPeerCertificate() as Partial<ReturnType<TLSSocket['getPeerCertificate']>>;
  if (certificate.raw === undefined) return false;
  const name = certificate.subject?.CN;
  return allowedNames.length === 0 || (typeof name === 'string' && allowedNames.includes(name));
}

export function userOfHeaders(
  headers: Readonly<Record<string, readonly string[] | undefined>>,
  config: RequestHeaderConfig,
): User | undefined {
  const first = (names: readonly string[]): string | undefined =>
    names
      .map((name) => headers[name.toLowerCase()]?.[0])
      .find((value) => value !== undefined && value !== '');
  const name = first(config.userHeaders);
  if (name === undefined) return undefined;
  const uid = first(config.uidHeaders);
  const extra: Record<string, string[]> = {};
  for (const prefix of config.extraPrefixes) {
    for (const [header, values = []] of Object.entries(headers)) {
      if (!header.startsWith(prefix.toLowerCase())) continue;
      const key = unescaped(header.slice(prefix.length));
      extra[key] = [...(extra[key] ?? []), ...values];
    }
  }
  return {
    name,
    ...(uid === undefined ? {} : { uid }),
    groups: config.groupHeaders.flatMap((group) => headers[group.toLowerCase()] ?? []),
    extra,
  };
}

function unescaped(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key;
  }
}
