/**
 * Which handler answers which method and path. Patterns are paths with `{name}` for one segment and, at the end,
 * `{name...}` for the rest. Others register their subresources here (`log`, `attach`, `signal`); the API server
 * asks these routes before its own.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { WebSocket } from 'ws';

export interface User {
  readonly name: string;
  readonly uid?: string | undefined;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>> | undefined;
}

/** What somebody wants to do, as an authoriser is asked. */
export interface AccessRequest {
  readonly user: User;
  /** get, list, watch, create, update, patch, delete, deletecollection; or the HTTP method in lower case. */
  readonly verb: string;
  readonly path: string;
  readonly group?: string | undefined;
  readonly resource?: string | undefined;
  readonly subresource?: string | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
}

export interface RouteContext {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  readonly path: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly user: User;
  /** Aborted when the client has gone or the server stops. */
  readonly signal: AbortSignal;
  /** The whole body, or TooLarge. */
  body(): Promise<Buffer>;
  /** The body as JSON, or BadRequest. */
  json(): Promise<unknown>;
  sendJson(code: number, value: unknown): void;
  /** Accepts the request's WebSocket with the first of these protocols that it offers; BadRequest when there is none. */
  webSocket(protocols: readonly string[]): Promise<WebSocket>;
  /** Tells the client something beside the answer, as kubectl prints `Warning: ...`. */
  warn(message: string): void;
  /** Throws Forbidden unless the user may. */
  requireAccess(access: Omit<AccessRequest, 'user' | 'path'>): Promise<void>;
}

export type RouteHandler = (context: RouteContext) => Promise<void> | void;

interface Route {
  readonly method: string;
  readonly segments: readonly string[];
  readonly handler: RouteHandler;
}

export interface RouteMatch {
  readonly handler: RouteHandler;
  readonly parameters: Record<string, string>;
}

export class Routes {
  readonly #routes: Route[] = [];

  /** `routes.add('GET', '/apis/x/v1/namespaces/{namespace}/things/{name}/log', handler)` */
  add(method: string, pattern: string, handler: RouteHandler): void {
    this.#routes.push({ method, segments: segmentsOf(pattern), handler });
  }

  find(method: string, path: string): RouteMatch | undefined {
    const segments = segmentsOf(path);
    for (const route of this.#routes) {
      if (route.method !== method && !(method === 'HEAD' && route.method === 'GET')) continue;
      const parameters = match(route.segments, segments);
      if (parameters !== undefined) return { handler: route.handler, parameters };
    }
    return undefined;
  }
}

export function segmentsOf(path: string): string[] {
  return path.split('/').filter((segment) => segment !== '');
}

function match(pattern: readonly string[], path: readonly string[]): Record<string, string> | undefined {
  const parameters: Record<string, string> = {};
  for (const [index, segment] of pattern.entries()) {
    const rest = /^\{(\w+)\.\.\.\}$/.exec(segment);
    if (rest) {
      parameters[rest[1]!] = path.slice(index).join('/');
      return parameters;
    }
    const found = path[index];
    if (found === undefined) return undefined;
    const one = /^\{(\w+)\}$/.exec(segment);
    if (one) parameters[one[1]!] = decodeURIComponent(found);
    else if (segment !== found) return undefined;
  }
  return pattern.length === path.length ? parameters : undefined;
}
