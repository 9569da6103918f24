/**
 * The scale subresource of kinds that declare it: the numbers that their paths lead to, as a Scale object, and back. Pure.
 */
import type { KubernetesObject } from '../object-store.ts';
import type { ResourceType } from '../resource.ts';
import { StoreError } from '../store-error.ts';

export function scaleOf(type: ResourceType, object: KubernetesObject): KubernetesObject {
  const { specReplicasPath, statusReplicasPath, labelSelectorPath } = type.scale!;
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const replicas = valueAt(object, specReplicasPath);
  const selector = labelSelectorPath === undefined ? undefined : valueAt(object, labelSelectorPath);
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: replicas === undefined ? {} : { replicas },
    status: {
      replicas: valueAt(object, statusReplicasPath) ?? 0,
      ...(selector === undefined ? {} : { selector }),
    },
  } as KubernetesObject;
}

/** The object with the number of a Scale. */
export function scaledTo(
  type: ResourceType,
  object: KubernetesObject,
  scale: KubernetesObject,
): KubernetesObject {
  const replicas: unknown = (scale as { spec?: { replicas?: unknown } }).spec?.replicas ?? 0;
  if (typeof replicas !== 'number' || !Number.isSafeInteger(replicas) || replicas < 0) {
    throw new StoreError(
      'Invalid',
      `Scale.autoscaling "${object.metadata.name}" is invalid: spec.replicas: Invalid value: ${JSON.stringify(replicas)}: must be greater than or equal to 0`,
      {
        group: 'autoscaling',
        kind: 'Scale',
        name: object.metadata.name ?? '',
        causes: [{ field: 'spec.replicas', message: 'must be greater than or equal to 0' }],
      },
    );
  }
  const { resourceVersion, uid } = scale.metadata ?? {};
  const changed = withValue(object, stepsOf(type.scale!.specReplicasPath), replicas) as KubernetesObject;
  return {
    ...changed,
    metadata: {
      ...changed.metadata,
      resourceVersion: resourceVersion ?? '',
      uid: uid ?? object.metadata.uid ?? '',
    },
  };
}

const stepsOf = (path: string): string[] => path.split('.').filter((step) => step !== '');

function valueAt(object: unknown, path: string): unknown {
  return stepsOf(path).reduce<unknown>(
    (value, step) => (value as Record<string, unknown> | undefined)?.[step],
    object,
  );
}

function withValue(object: unknown, [step, ...rest]: readonly string[], value: unknown): unknown {
  if (step === undefined) return value;
  const fields = object as Record<string, unknown> | undefined;
  return { ...fields, [step]: withValue(fields?.[step], rest, value) };
}
