/**
 * Requests of the Kubernetes API, sent one after another to a server, and what it answered without what no two servers
 * have in common: identities, times, versions, and the words in which they say what is invalid.
 */
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { load } from 'js-yaml';

export interface Step {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Kubernetes answers oddly here (with 500 for a bad request, say), and ours with this code. */
  readonly ours?: number;
}

export interface Answer {
  readonly code: number;
  readonly warnings: readonly string[];
  readonly body: unknown;
}

interface Kubeconfig {
  readonly clusters: readonly [{ cluster: { server: string; 'certificate-authority-data'?: string } }];
  readonly users: readonly [{ user: { 'client-certificate-data'?: string; 'client-key-data'?: string } }];
}

export class RawClient implements Disposable {
  readonly #server: string;
  readonly #agent: http.Agent;

  constructor(kubeconfig: string) {
    const config = load(fs.readFileSync(kubeconfig, 'utf8')) as Kubeconfig;
    const { cluster } = config.clusters[0];
    const { user } = config.users[0];
    this.#server = cluster.server;
    const from = (text: string | undefined): Buffer | undefined =>
      text === undefined ? undefined : Buffer.from(text, 'base64');
    this.#agent = cluster.server.startsWith('https:')
      ? new https.Agent({
          keepAlive: true,
          ca: from(cluster['certificate-authority-data']),
          cert: from(user['client-certificate-data']),
          key: from(user['client-key-data']),
        })
      : new http.Agent({ keepAlive: true });
  }

  send({ method, path, body, headers }: Omit<Step, 'name' | 'ours'>): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
    const request = (this.#agent instanceof https.Agent ? https : http).request(
      `${this.#server}${path}`,
      {
        method,
        agent: this.#agent,
        headers: {
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const said = Buffer.concat(chunks).toString();
          const warnings = [response.headers['warning'] ?? []]
            .flat()
            .flatMap((one) => one.split(/, (?=299)/));
          resolve({
            code: response.statusCode ?? 0,
            warnings,
            body: said.startsWith('{') ? JSON.parse(said) : said,
          });
        });
      },
    );
    request.on('error', reject);
    request.end(text);
    return promise;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

type Json = Record<string, unknown>;

const identities = new Set(['uid', 'resourceVersion', 'continue', 'creationTimestamp', 'deletionTimestamp']);
/** Of managers only when they wrote; of columns how they are described; of kinds how Kubernetes stores them. */
const different = new Set(['time', 'description', 'storageVersionHash']);

/** The answer as far as it has to be the same everywhere. */
export function comparable({ code, warnings, body }: Answer): unknown {
  // Where there is nothing, Kubernetes answers in text, or with all paths it has.
  if (code === 404 && (typeof body === 'string' || !('details' in (body as Json)) || isNowhere(body as Json)))
    return { code };
  return {
    code,
    warnings: warnings.map((one) => one.replace(/ \(did you mean .*\)/, '')),
    body: typeof body === 'string' ? body : plain(body),
  };
}

const isNowhere = (status: Json): boolean => (status['details'] as Json)['kind'] === undefined;

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return sorted(value).map(plain);
  // Ages in tables.
  if (typeof value === 'string') return /^\d+s$/.test(value) ? 'a while' : value;
  if (typeof value !== 'object' || value === null) return value;
  const object = value as Json;
  if (object['kind'] === 'Status') return statusOf(object);
  return Object.fromEntries(
    Object.entries(object)
      .filter(
        ([key, inner]) => !different.has(key) && inner !== null && !(key === 'continue' && inner === ''),
      )
      .map(([key, inner]) => [key, identities.has(key) ? 'some' : plain(inner)]),
  );
}

/** Managers of one second and kinds of a group come in any order. */
function sorted(list: readonly unknown[]): readonly unknown[] {
  const keyOf = (item: unknown): string | undefined => {
    const { manager, operation, subresource, name, singularName } = (item ?? {}) as Json;
    if (manager !== undefined) return JSON.stringify([manager, operation, subresource]);
    return singularName === undefined ? undefined : JSON.stringify(name);
  };
  if (!list.every((item) => keyOf(item) !== undefined)) return list;
  return [...list].sort((a, b) => (keyOf(a)! < keyOf(b)! ? -1 : 1));
}

interface Cause {
  readonly reason?: string;
  readonly field?: string;
  readonly message?: string;
}

/** Of a failure: code, reason, what it is about and which fields are wrong; not in which words. */
function statusOf(status: Json): Json {
  const { causes, uid, ...about } = (status['details'] ?? {}) as Json & { causes?: Cause[] };
  const reason = status['reason'];
  const worded = ['Invalid', 'BadRequest', 'NotAcceptable', 'UnsupportedMediaType'];
  const fields = (causes ?? [])
    // Kubernetes adds one when the rules were not run, and names the map of labels, not the label.
    .filter(({ field, reason: why }) => field !== '<nil>' && why !== 'FieldUnknown')
    .map(({ reason: why, field = '' }) => `${why} ${field.replace(/^(metadata.labels).*/, '$1')}`);
  return {
    status: status['status'],
    reason,
    ...(worded.includes(reason as string) ? {} : { message: status['message'] }),
    ...(reason === 'BadRequest' ? {} : { about }),
    uid: uid === undefined ? undefined : 'some',
    fields: [...new Set(fields)].sort(),
  };
}
