/**
 * The resources of a store over HTTP, as the Kubernetes API has them: collections, objects and their subresources. It asks
 * whether the user may and hands over to reading or writing.
 */
import { resourceNameOf, type ResourceType } from '../resource.ts';
import { StoreError } from '../store-error.ts';
import { get, list, wantsWatch, watch, type ReadPorts } from './reads.ts';
import type { RouteContext } from './routes.ts';
import { verbOf, type Target } from './target.ts';
import { create, patch, remove, removeAll, update, type WritePorts } from './writes.ts';

export type ResourceApi = ReadPorts & WritePorts;

export async function serveResource(api: ResourceApi, target: Target, context: RouteContext): Promise<void> {
  const verb = verbOf(context.method, target, context.method === 'GET' && wantsWatch(context.query));
  if (verb === undefined) {
    throw new StoreError(
      'MethodNotAllowed',
      'the server does not allow this method on the requested resource',
    );
  }
  const { type } = target.served;
  await context.requireAccess({
    verb,
    group: type.group,
    resource: type.plural,
    subresource: target.subresource,
    namespace: target.namespace,
    name: target.name,
  });
  switch (verb) {
    case 'watch':
      return watch(api, target, context);
    case 'list':
      return list(api, target, context);
    case 'get':
      return get(api, target, context);
    case 'create':
      return create(api, target, context);
    case 'update':
      return update(api, target, context);
    case 'patch':
      return patch(api, target, context);
    case 'delete':
      return remove(api, target, context);
    case 'deletecollection':
      return removeAll(api, target, context);
  }
}

export function unknownPath(path: string, types: readonly ResourceType[]): StoreError {
  const known = types.map(resourceNameOf).join(', ');
  return new StoreError(
    'NotFound',
    `the server could not find the requested resource (there is nothing at ${path}; this server keeps ${known})`,
  );
}
