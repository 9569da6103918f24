/**
 * Tells the cluster's API server by which authority it knows the server of the verbs: in the APIService that the chart makes, whose
 * caBundle is the controllers' to write. Without an APIService there is nobody to tell.
 */
import { type AnyObject, isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';
import { verbsGroup, verbsVersion } from './paths.ts';

export const apiServiceType: ResourceType = {
  group: 'apiregistration.k8s.io',
  version: 'v1',
  kind: 'APIService',
  plural: 'apiservices',
  namespaced: false,
};
export const apiServiceName = `${verbsVersion}.${verbsGroup}`;

/** False when there is no APIService. */
export async function publishAuthority(
  store: ObjectStore,
  ca: string,
  signal: AbortSignal,
): Promise<boolean> {
  const caBundle = Buffer.from(ca).toString('base64');
  const key = { name: apiServiceName };
  try {
    const { spec } = await store.get<AnyObject>(apiServiceType, key, signal);
    if ((spec as { caBundle?: string } | undefined)?.caBundle !== caBundle)
      await store.patch(apiServiceType, key, { type: 'merge', patch: { spec: { caBundle } } }, {}, signal);
    return true;
  } catch (error) {
    if (isStoreError(error, 'NotFound')) return false;
    throw error;
  }
}
