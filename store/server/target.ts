/**
 * What a path and a method of the resource API mean: which kind, namespace, object and subresource, and which verb the
 * authoriser is asked about. Pure.
 */
import { hasStatus, type ResourceType } from '../resource.ts';
import type { SelectOptions } from '../object-store.ts';
import { segmentsOf } from './routes.ts';
import { storedType, type ServedType } from './served-type.ts';

export type Subresource = 'status' | 'scale';

export interface Target {
  /** As the client knows it. */
  readonly served: ServedType;
  /** As the store keeps it. */
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: Subresource | undefined;
}

/** What a path means; undefined when it names no resource of these types. */
export function targetOf(path: string, types: readonly ServedType[]): Target | undefined {
  const segments = segmentsOf(path).map((segment) => decodeURIComponent(segment));
  const root = segments.shift();
  const group = root === 'apis' ? segments.shift() : root === 'api' ? '' : undefined;
  const version = segments.shift();
  if (group === undefined || version === undefined) return undefined;
  let namespace: string | undefined;
  // `/namespaces/x/status` is a subresource of a Namespace, `/namespaces/x/widgets` a collection in it.
  if (segments[0] === 'namespaces' && segments.length >= 3 && segments[2] !== 'status') {
    namespace = segments[1];
    segments.splice(0, 2);
  }
  const [plural, name, subresource] = segments;
  const served = types.find(
    ({ type }) => type.group === group && type.version === version && type.plural === plural,
  );
  if (served === undefined || segments.length > 3) return undefined;
  const { type } = served;
  if (subresource !== undefined && !subresourcesOf(type).includes(subresource as Subresource))
    return undefined;
  if (namespace !== undefined && !type.namespaced) return undefined;
  if (name !== undefined && type.namespaced && namespace === undefined) return undefined;
  return { served, type: storedType(served), namespace, name, subresource: subresource as Subresource };
}

export function subresourcesOf(type: ResourceType): Subresource[] {
  return [...(hasStatus(type) ? ['status' as const] : []), ...(type.scale ? ['scale' as const] : [])];
}

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

export function verbOf(method: string, target: Target, watching: boolean): Verb | undefined {
  const collection = target.name === undefined;
  switch (method) {
    case 'GET':
    case 'HEAD':
      return watching ? 'watch' : collection ? 'list' : 'get';
    case 'POST':
      return collection && !(target.type.namespaced && target.namespace === undefined) ? 'create' : undefined;
    case 'PUT':
      return collection ? undefined : 'update';
    case 'PATCH':
      return collection ? undefined : 'patch';
    case 'DELETE':
      if (target.subresource !== undefined) return undefined;
      return collection ? 'deletecollection' : 'delete';
    default:
      return undefined;
  }
}

export function keyOfTarget(target: Target): { namespace: string | undefined; name: string } {
  return { namespace: target.namespace, name: target.name! };
}

export function selectOf(target: Target, query: URLSearchParams): SelectOptions {
  const named = target.name === undefined ? undefined : `metadata.name=${target.name}`;
  const asked = query.get('fieldSelector');
  const { view } = target.served;
  const fields = asked === null || view === undefined ? asked : view.fieldSelector(asked);
  return {
    namespace: target.namespace,
    labelSelector: query.get('labelSelector') ?? undefined,
    fieldSelector: [fields, named].filter(Boolean).join(',') || undefined,
  };
}
