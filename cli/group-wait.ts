/** Waits for an object, mostly a ProcessGroup, to be as wanted, by watching it; a watch that ends is begun again. */
import type { Client } from './client.ts';
import { processGroupType } from './client.ts';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type AnyObject,
  isStoreError,
  type ObjectKey,
  type ResourceType,
  StoreError,
} from '../store/object-store.ts';

interface ConditionLike {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

export interface GroupView {
  readonly object: AnyObject;
  is(condition: string): boolean;
  condition(type: string): ConditionLike | undefined;
}

export function viewOf(object: AnyObject): GroupView {
  const conditions = (object.status as { conditions?: ConditionLike[] } | undefined)?.conditions ?? [];
  const condition = (type: string): ConditionLike | undefined =>
    conditions.find((item) => item.type === type);
  return { object, condition, is: (type) => condition(type)?.status === 'True' };
}

/** Throws NotFound when it is, or comes to be, gone. */
export function untilGroup(
  client: Client,
  key: ObjectKey,
  wanted: (group: GroupView) => boolean,
  signal?: AbortSignal,
): Promise<GroupView> {
  return untilObject(client, processGroupType, key, wanted, signal);
}

/** As untilGroup; `wanted` is asked of every version that is seen. */
export async function untilObject(
  client: Client,
  type: ResourceType,
  key: ObjectKey,
  wanted: (object: GroupView) => boolean,
  signal?: AbortSignal,
): Promise<GroupView> {
  for (;;) {
    const now = await client.store.get(type, key);
    const view = viewOf(now);
    if (wanted(view)) return view;
    try {
      const options = {
        namespace: key.namespace,
        fieldSelector: `metadata.name=${key.name}`,
        resourceVersion: now.metadata.resourceVersion,
      };
      for await (const event of client.store.watch(type, options, signal)) {
        if (event.type === 'DELETED') {
          throw new StoreError('NotFound', `${type.singular} ${key.name} was deleted`, {
            kind: type.plural,
            name: key.name,
          });
        }
        if (event.type === 'BOOKMARK') continue;
        const next = viewOf(event.object);
        if (wanted(next)) return next;
      }
    } catch (error) {
      if (!isStoreError(error, 'Expired', 'Unavailable')) throw error;
    }
    signal?.throwIfAborted();
    await pause(100);
  }
}
