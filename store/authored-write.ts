/**
 * Writes that somebody signs: the transitions of one object with its managedFields kept, and server-side apply, which is
 * made of them. Pure, like `transition.ts`; writes of Muster's own controllers in the same process need no signature.
 */
import { plainCopy } from './plain.ts';
import { applied, managersAfterUpdate, sameManagers, type WriteContext } from './fields/managed-fields.ts';
import { objectSchemaOf } from './meta-schema.ts';
import type { KubernetesObject, ManagedFieldsEntry } from './object-store.ts';
import { apiVersionOf, hasStatus, type ResourceType } from './resource.ts';
import { StoreError } from './store-error.ts';
import {
  checkPreconditions,
  createdObject,
  errorOf,
  statusUpdatedObject,
  timestampOf,
  updatedObject,
  type Admit,
  type Birth,
  type Change,
  type StoredObject,
} from './transition.ts';

export interface Author {
  /** As managedFields name it. */
  readonly manager: string;
  readonly subresource?: 'status' | 'scale' | undefined;
  readonly nowMs: number;
}

const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

function contextOf(type: ResourceType, author: Author, operation: 'Apply' | 'Update'): WriteContext {
  const { manager: name, subresource, nowMs } = author;
  const time = timestampOf(nowMs);
  return {
    schema: objectSchemaOf(type.schema),
    hasStatus: hasStatus(type),
    manager: { name, operation, apiVersion: apiVersionOf(type), subresource, time },
  };
}

export function createdBy(
  author: Author,
  type: ResourceType,
  input: KubernetesObject,
  birth: Birth,
  admit: Admit | undefined,
): StoredObject {
  const born = createdObject(type, input, birth, admit);
  const context = contextOf(type, author, 'Update');
  return withManagers(born, managersAfterUpdate(context, undefined, born, undefined));
}

export function updatedBy(
  author: Author,
  type: ResourceType,
  old: StoredObject,
  input: KubernetesObject,
  admit: Admit | undefined,
): Change {
  const change = transitionOf(author)(type, old, input, admit);
  const context = contextOf(type, author, 'Update');
  return signed(old, change, managersAfterUpdate(context, old, change.object, input.metadata));
}

export interface ApplyOptions {
  readonly force: boolean;
  readonly birth: Birth;
  readonly admit: Admit | undefined;
  /** What a new object becomes before it is admitted. */
  readonly prepare?: (object: KubernetesObject) => KubernetesObject;
}

/** What an apply makes of the live object; of none, a new one. */
export function appliedBy(
  author: Author,
  type: ResourceType,
  live: StoredObject | undefined,
  wanted: KubernetesObject,
  options: ApplyOptions,
): Change {
  const name = live?.metadata.name ?? wanted.metadata.name;
  if ((wanted.metadata.managedFields ?? []).length > 0) {
    throw errorOf('BadRequest', type, name, 'metadata.managedFields must be nil');
  }
  const context = contextOf(type, author, 'Apply');
  if (live === undefined) {
    if (author.subresource !== undefined) throw errorOf('NotFound', type, name, 'not found');
    if (wanted.metadata.uid !== undefined) {
      throw errorOf('Conflict', type, name, `there is no object with uid ${wanted.metadata.uid}`);
    }
    const { resourceVersion: _, ...metadata } = wanted.metadata;
    const result = applied(context, { metadata: {} }, { ...wanted, metadata }, options.force);
    const prepared = options.prepare?.(result.object) ?? result.object;
    const born = createdObject(type, prepared, options.birth, options.admit);
    return { kind: 'put', object: withManagers(born, result.managedFields) };
  }
  checkPreconditions(type, live, wanted.metadata);
  const { resourceVersion: _, ...metadata } = wanted.metadata;
  const result = applied(context, live, { ...wanted, metadata }, options.force);
  const object = author.manager === 'kubectl' ? withLastApplied(live, result.object, wanted) : result.object;
  const change = transitionOf(author)(type, live, object, options.admit);
  return signed(live, change, result.managedFields);
}

function transitionOf({ subresource }: Author): typeof updatedObject {
  return subresource === 'status' ? statusUpdatedObject : updatedObject;
}

/** An object once applied by the client keeps the note of it current, so that both ways stay usable. */
function withLastApplied(
  live: StoredObject,
  object: KubernetesObject,
  wanted: KubernetesObject,
): KubernetesObject {
  if (live.metadata.annotations?.[lastApplied] === undefined) return object;
  const annotations = { ...object.metadata.annotations, [lastApplied]: `${JSON.stringify(wanted)}\n` };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

function signed(old: StoredObject, change: Change, managers: ManagedFieldsEntry[]): Change {
  if (change.kind === 'none' && sameManagers(managers, old.metadata.managedFields)) return change;
  const kind = change.kind === 'none' ? 'put' : change.kind;
  return { kind, object: withManagers(change.object, managers) };
}

function withManagers(object: StoredObject, managers: ManagedFieldsEntry[]): StoredObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return {
    ...object,
    metadata: managers.length === 0 ? metadata : { ...metadata, managedFields: plainCopy(managers) },
  };
}

/** The object of an apply, or BadRequest. */
export function appliedObject(type: ResourceType, value: unknown): KubernetesObject {
  const object = value as Partial<KubernetesObject> | null;
  if (typeof object !== 'object' || object === null || Array.isArray(object)) {
    throw new StoreError('BadRequest', 'The body of an apply is not an object');
  }
  if (object.apiVersion === undefined || object.kind === undefined) {
    throw errorOf('BadRequest', type, undefined, 'an apply must say apiVersion and kind');
  }
  return { ...object, metadata: object.metadata ?? {} };
}
