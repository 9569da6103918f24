/**
 * What the API server asks of Namespaces: nothing is made in one that is not there or that is being emptied, and the default
 * one stays. A server whose store keeps no Namespaces asks nothing. Emptying them is `namespace-lifecycle.ts`.
 */
import { namespaceFinalizer } from '../namespace-lifecycle.ts';
import { isStoreError, type KubernetesObject, type ObjectStore } from '../object-store.ts';
import { builtinTypes, resourceNameOf, type ResourceType } from '../resource.ts';
import { StoreError } from '../store-error.ts';
import { errorOf } from '../transition.ts';

export const isNamespaceType = (type: ResourceType): boolean =>
  type.group === '' && type.kind === 'Namespace';

/** Throws NotFound for a namespace that is not there, Forbidden for one that is going. */
export async function requireNamespace(
  store: ObjectStore,
  type: ResourceType,
  namespace: string,
  name: string | undefined,
): Promise<void> {
  let found: KubernetesObject;
  try {
    found = await store.get(builtinTypes.namespace, { name: namespace });
  } catch (error) {
    if (
      isStoreError(error, 'NotFound') &&
      error.details.kind === 'namespaces' &&
      error.details.name === undefined
    )
      return;
    throw error;
  }
  if (found.metadata.deletionTimestamp === undefined) return;
  throw new StoreError(
    'Forbidden',
    `${resourceNameOf(type)} "${name ?? ''}" is forbidden: unable to create new content in namespace ${namespace} because it is being terminated`,
    {
      group: type.group,
      kind: type.plural,
      ...(name === undefined ? {} : { name }),
      causes: [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${namespace} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    },
  );
}

export function refuseDeletionOfDefault(type: ResourceType, name: string): void {
  if (isNamespaceType(type) && name === 'default') {
    throw errorOf('Forbidden', type, name, 'this namespace may not be deleted');
  }
}

/** A new Namespace is held until it has been emptied. */
export function heldNamespace(type: ResourceType, object: KubernetesObject): KubernetesObject {
  if (!isNamespaceType(type)) return object;
  const finalizers = [...new Set([...(object.metadata.finalizers ?? []), namespaceFinalizer])];
  return { ...object, metadata: { ...object.metadata, finalizers } };
}
