/**
 * The CLI's side of the API: an ObjectStore over the local socket, the kinds it knows, tables made by the server, and the
 * subresources that are not objects (log, signal, ranks).
 */
import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import { kinds, type KindInfo } from '../crds/objects.ts';
import { HttpStore, type HttpStoreOptions, pathOf } from '../store/client/http-store.ts';
import type { WebSocketRequest } from '../store/client/web-socket.ts';
import type { ObjectStore, ResourceType } from '../store/object-store.ts';
import { builtinTypes, findResourceType } from '../store/resource.ts';
import type { Table } from '../store/server/table.ts';
import { CommandError } from './errors.ts';

const typeOf = (info: KindInfo): ResourceType => ({
  group: info.group,
  version: info.version,
  kind: info.kind,
  plural: info.plural,
  namespaced: info.scope === 'Namespaced',
  singular: info.singular,
  shortNames: info.shortNames,
});

export const processGroupType = typeOf(kinds.ProcessGroup);
export const checkpointType = typeOf(kinds.Checkpoint);
export const migrationType = typeOf(kinds.Migration);
export const nodeMonitorType = typeOf(kinds.NodeMonitor);
export const clientTypes: readonly ResourceType[] = [
  processGroupType,
  checkpointType,
  migrationType,
  nodeMonitorType,
  ...Object.values(builtinTypes),
];

export interface Client {
  readonly store: ObjectStore;
  /** The type that a word names (kind, plural, short name); `all` is all of ours. Throws CommandError. */
  typesOf(word: string): readonly ResourceType[];
  /** The server's table of the objects, or of the one named. */
  table(
    type: ResourceType,
    key: { namespace?: string | undefined; name?: string | undefined },
    options: { labelSelector?: string | undefined },
  ): Promise<Table>;
  request(method: string, path: string, body?: unknown): Promise<unknown>;
  stream(path: string, query: URLSearchParams, accept: string): Promise<IncomingMessage>;
  webSocket(request: WebSocketRequest): Promise<WebSocket>;
}

export function connect(server: HttpStoreOptions): Client {
  const store = new HttpStore(server);
  return {
    store,
    typesOf: (word) => {
      if (word === 'all') return clientTypes.slice(0, 4);
      const type = findResourceType(clientTypes, word);
      if (!type) {
        const known = clientTypes
          .map(({ plural, shortNames = [] }) => [plural, ...shortNames].join('|'))
          .join(', ');
        throw new CommandError(`unknown kind "${word}": expected one of ${known}`, 2);
      }
      return [type];
    },
    table: async (type, key, { labelSelector }) => {
      const query = new URLSearchParams({ includeObject: 'Metadata' });
      if (labelSelector !== undefined) query.set('labelSelector', labelSelector);
      const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
      return (await store.requestJson({ method: 'GET', path: pathOf(type, key), query, accept })) as Table;
    },
    request: (method, path, body) =>
      store.requestJson({ method, path, ...(body === undefined ? {} : { body }) }),
    stream: (path, query, accept) => store.request({ method: 'GET', path, query, accept }),
    webSocket: async (request) => {
      const { openWebSocket } = await import('../store/client/web-socket.ts');
      return openWebSocket(server, request);
    },
  };
}
