/**
 * A kind as clients see it: one that the store keeps, or a view of such a kind under another group with other field names
 * (Events of the core group are views of those of events.k8s.io). Everything behind a view works on the stored kind.
 */
import type { KubernetesObject } from '../object-store.ts';
import { resourceNameOf, type ResourceType } from '../resource.ts';
import { coreEventView } from './event-view.ts';

export interface View {
  readonly type: ResourceType;
  /** The resource name of the kind that is kept. */
  readonly of: string;
  show(stored: KubernetesObject): KubernetesObject;
  take(shown: KubernetesObject): KubernetesObject;
  /** A field selector of the view in the stored kind's names. */
  fieldSelector(text: string): string;
}

export interface ServedType {
  readonly type: ResourceType;
  readonly view?: View;
  /** What the view is of. */
  readonly stored?: ResourceType;
}

const views: readonly View[] = [coreEventView];

export function servedTypes(types: readonly ResourceType[]): ServedType[] {
  const kept = types.map((type) => ({ type }));
  const seen = views.flatMap((view) => {
    const stored = types.find((type) => resourceNameOf(type) === view.of);
    return stored === undefined ? [] : [{ type: view.type, view, stored }];
  });
  return [...seen, ...kept];
}

export function storedType({ type, stored }: ServedType): ResourceType {
  return stored ?? type;
}
