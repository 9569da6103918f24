/**
 * What one write makes of one object: the API's rules of creation, update, status update and deletion, as pure
 * functions from (stored object, request) to (new object, or nothing to do, or gone). They know no disk, no clock
 * and no other object; the resourceVersion is set by whoever commits the result.
 */
import type {
  AnyObject,
  DeleteOptions,
  KubernetesObject,
  ObjectKey,
  ObjectMeta,
  Preconditions,
} from './object-store.ts';
import { isObjectName, metadataErrors, nameRule } from './metadata.ts';
import { frozenCopy, plainCopy, samePlain } from './plain.ts';
import { apiVersionOf, hasStatus, type ResourceType } from './resource.ts';
import {
  causeText,
  StoreError,
  type FieldError,
  type StoreErrorDetails,
  type StoreReason,
} from './store-error.ts';

export type StoredObject = AnyObject & {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta & { name: string; uid: string; resourceVersion: string };
};

/** Defaults and checks an object before it is stored; `oldObject` is given for updates. */
export type Admit = (
  operation: 'CREATE' | 'UPDATE',
  object: KubernetesObject,
  oldObject?: KubernetesObject,
) =>
  | { readonly object: KubernetesObject; readonly errors?: undefined }
  | { readonly object?: undefined; readonly errors: readonly FieldError[] };

export type Change =
  | { readonly kind: 'put'; readonly object: StoredObject }
  | { readonly kind: 'remove'; readonly object: StoredObject }
  | { readonly kind: 'none'; readonly object: StoredObject };

export const foregroundFinalizer = 'foregroundDeletion';
export const orphanFinalizer = 'orphan';

export interface Birth {
  readonly uid: string;
  readonly nowMs: number;
  /** Appended to `generateName`. */
  readonly suffix: string;
}

/** The key of a request's object: its name and namespace, or BadRequest. */
export function keyOf(type: ResourceType, object: KubernetesObject): { namespace?: string; name: string } {
  const name: unknown = object.metadata?.name;
  if (!isObjectName(name)) {
    const missing = name === undefined || name === '';
    const cause = missing
      ? { field: 'metadata.name', message: 'name or generateName is required', reason: 'FieldValueRequired' }
      : {
          field: 'metadata.name',
          message: `${JSON.stringify(name)} is not a name`,
          expected: nameRule,
          reason: 'FieldValueInvalid',
        };
    throw errorOf('Invalid', type, typeof name === 'string' && !missing ? name : undefined, textOf([cause]), [
      cause,
    ]);
  }
  return type.namespaced ? { namespace: object.metadata.namespace ?? 'default', name } : { name };
}

/** The new object, without a resourceVersion that means anything yet. */
export function createdObject(
  type: ResourceType,
  input: KubernetesObject,
  birth: Birth,
  admit?: Admit,
): StoredObject {
  const asked = requestOf(type, input);
  const { metadata, ...rest } = asked;
  if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== '') {
    throw errorOf(
      'BadRequest',
      type,
      metadata.name,
      'resourceVersion must not be set on an object to be created',
    );
  }
  const name =
    metadata.name ??
    (metadata.generateName === undefined ? undefined : nameFrom(metadata.generateName, birth.suffix));
  const meta = cleanMeta(metadata, {
    ...(name === undefined ? {} : { name }),
    ...(type.namespaced ? { namespace: metadata.namespace ?? 'default' } : {}),
    uid: birth.uid,
    generation: 1,
    creationTimestamp: timestampOf(birth.nowMs),
  });
  if (hasStatus(type)) delete rest['status'];
  return admitted(type, 'CREATE', { ...rest, metadata: meta }, undefined, admit);
}

export function updatedObject(
  type: ResourceType,
  old: StoredObject,
  input: KubernetesObject,
  admit?: Admit,
): Change {
  const asked = requestOf(type, input);
  checkPreconditions(type, old, asked.metadata);
  const { metadata, ...rest } = asked;
  if (hasStatus(type)) {
    delete rest['status'];
    if (old['status'] !== undefined) rest['status'] = old['status'];
  }
  const meta = cleanMeta(metadata, fixedMeta(old.metadata));
  const deleting = old.metadata.deletionTimestamp !== undefined;
  if (deleting) {
    const added = (meta.finalizers ?? []).filter((name) => !(old.metadata.finalizers ?? []).includes(name));
    if (added.length > 0) {
      throw errorOf(
        'Invalid',
        type,
        old.metadata.name,
        `no finalizer may be added while it is being deleted`,
        [
          {
            field: 'metadata.finalizers',
            message: `cannot add ${added.join(', ')}`,
            reason: 'FieldValueForbidden',
          },
        ],
      );
    }
  }
  const candidate = admitted(type, 'UPDATE', { ...rest, metadata: meta }, old, admit);
  if (deleting && (candidate.metadata.finalizers ?? []).length === 0)
    return { kind: 'remove', object: candidate };
  if (samePlain(candidate, old)) return { kind: 'none', object: old };
  if (samePlain(contentOf(candidate), contentOf(old))) return { kind: 'put', object: candidate };
  const generation = (old.metadata.generation ?? 0) + 1;
  return { kind: 'put', object: { ...candidate, metadata: { ...candidate.metadata, generation } } };
}

export function statusUpdatedObject(
  type: ResourceType,
  old: StoredObject,
  input: KubernetesObject,
  admit?: Admit,
): Change {
  if (!hasStatus(type)) {
    throw errorOf('NotFound', type, old.metadata.name, `${type.kind} has no status subresource`);
  }
  const asked = requestOf(type, input);
  checkPreconditions(type, old, asked.metadata);
  const candidate: Record<string, unknown> & { metadata: ObjectMeta } = { ...old };
  delete candidate['status'];
  if (asked['status'] !== undefined) candidate['status'] = asked['status'];
  const object = admitted(type, 'UPDATE', plainCopy(candidate), old, admit);
  return samePlain(object, old) ? { kind: 'none', object: old } : { kind: 'put', object };
}

export function deletedObject(
  type: ResourceType,
  old: StoredObject,
  options: DeleteOptions,
  nowMs: number,
  hasDependents: boolean,
): Change {
  checkPreconditions(type, old, options.preconditions ?? {});
  const finalizers = new Set(old.metadata.finalizers ?? []);
  const propagation = options.propagation ?? 'Background';
  finalizers.delete(foregroundFinalizer);
  finalizers.delete(orphanFinalizer);
  if (hasDependents && propagation === 'Foreground') finalizers.add(foregroundFinalizer);
  if (hasDependents && propagation === 'Orphan') finalizers.add(orphanFinalizer);
  if (finalizers.size === 0) return { kind: 'remove', object: old };
  const { finalizers: _, ...others } = old.metadata;
  const metadata = {
    ...others,
    finalizers: [...finalizers],
    deletionTimestamp: old.metadata.deletionTimestamp ?? timestampOf(nowMs),
    deletionGracePeriodSeconds: 0,
    generation: (old.metadata.generation ?? 0) + (old.metadata.deletionTimestamp === undefined ? 1 : 0),
  };
  const object = frozenCopy({ ...old, metadata });
  return samePlain(object, old) ? { kind: 'none', object: old } : { kind: 'put', object };
}

export function withResourceVersion(object: StoredObject, version: number): StoredObject {
  return Object.freeze({
    ...object,
    metadata: Object.freeze({ ...object.metadata, resourceVersion: String(version) }),
  });
}

export function checkPreconditions(type: ResourceType, old: StoredObject, wanted: Preconditions): void {
  const { name, uid, resourceVersion } = old.metadata;
  if (wanted.uid !== undefined && wanted.uid !== '' && wanted.uid !== uid) {
    throw errorOf(
      'Conflict',
      type,
      name,
      `Precondition failed: UID in precondition: ${wanted.uid}, UID in object meta: ${uid}`,
    );
  }
  const version = wanted.resourceVersion;
  if (version !== undefined && version !== '' && version !== '0' && version !== resourceVersion) {
    throw errorOf(
      'Conflict',
      type,
      name,
      'the object has been modified; please apply your changes to the latest version and try again',
    );
  }
}

/**
 * An error that names the object as Kubernetes does: `processgroups.muster.dev "cpi" not found`. `why` is said of a conflict,
 * and of what has no words of its own; the causes say what is invalid.
 */
export function errorOf(
  reason: StoreReason,
  type: ResourceType,
  name: string | undefined,
  why: string,
  causes?: readonly FieldError[],
): StoreError {
  const invalid = reason === 'Invalid';
  const details: StoreErrorDetails = {
    group: type.group,
    kind: invalid ? type.kind : type.plural,
    ...(name === undefined ? {} : { name }),
    ...(causes === undefined ? {} : { causes }),
  };
  const inGroup = (word: string): string => (type.group === '' ? word : `${word}.${type.group}`);
  const what = `${inGroup(invalid ? type.kind : type.plural)}${name === undefined && !invalid ? '' : ` "${name ?? ''}"`}`;
  return new StoreError(reason, sentenceOf(reason, what, why), details);
}

function sentenceOf(reason: StoreReason, what: string, why: string): string {
  switch (reason) {
    case 'NotFound':
      return `${what} ${why}`;
    case 'AlreadyExists':
      return `${why}${what} already exists`;
    case 'Conflict':
      return `Operation cannot be fulfilled on ${what}: ${why}`;
    case 'Invalid':
      return `${what} is invalid: ${why}`;
    case 'Forbidden':
      return `${what} is forbidden: ${why}`;
    default:
      return `${what}: ${why}`;
  }
}

export function orNotFound(type: ResourceType, key: ObjectKey, head: StoredObject | undefined): StoredObject {
  if (head === undefined) throw notFound(type, key);
  return head;
}

export function notFound(type: ResourceType, key: ObjectKey): StoreError {
  return errorOf('NotFound', type, key.name, 'not found');
}

export function alreadyExists(type: ResourceType, object: StoredObject): StoreError {
  const deleting = object.metadata.deletionTimestamp === undefined ? '' : 'object is being deleted: ';
  return errorOf('AlreadyExists', type, object.metadata.name, deleting);
}

type Request = Record<string, unknown> & { metadata: ObjectMeta };

function requestOf(type: ResourceType, input: KubernetesObject): Request {
  const object: unknown = plainCopy(input);
  if (typeof object !== 'object' || object === null || Array.isArray(object)) {
    throw errorOf('BadRequest', type, undefined, 'expected an object');
  }
  const fields = object as Partial<Request>;
  const expected = apiVersionOf(type);
  if ((fields['apiVersion'] ?? expected) !== expected || (fields['kind'] ?? type.kind) !== type.kind) {
    const found = `${JSON.stringify(fields['apiVersion'])} ${JSON.stringify(fields['kind'])}`;
    throw errorOf('BadRequest', type, undefined, `the object is ${found}, expected ${expected} ${type.kind}`);
  }
  const metadata: unknown = fields.metadata ?? {};
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) {
    throw errorOf('BadRequest', type, undefined, 'metadata is not an object');
  }
  return { ...fields, metadata: metadata };
}

/** The user's part of the metadata, and over it what the store decides. */
function cleanMeta(asked: ObjectMeta, decided: ObjectMeta): ObjectMeta {
  const { generateName, labels, annotations, finalizers, ownerReferences } = asked;
  const meta: ObjectMeta = { ...decided };
  if (generateName !== undefined && generateName !== '') meta.generateName = generateName;
  if (!isEmpty(labels)) meta.labels = labels!;
  if (!isEmpty(annotations)) meta.annotations = annotations!;
  if (!isEmpty(finalizers))
    meta.finalizers = Array.isArray(finalizers) ? [...new Set(finalizers)] : finalizers!;
  if (!isEmpty(ownerReferences)) meta.ownerReferences = ownerReferences!;
  return meta;
}

function fixedMeta(old: ObjectMeta): ObjectMeta {
  const { labels: _l, annotations: _a, finalizers: _f, ownerReferences: _o, ...fixed } = old;
  return fixed;
}

function isEmpty(value: object | null | undefined): boolean {
  return (
    value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0)
  );
}

function admitted(
  type: ResourceType,
  operation: 'CREATE' | 'UPDATE',
  candidate: Request,
  old: StoredObject | undefined,
  admit: Admit | undefined,
): StoredObject {
  const object = { apiVersion: apiVersionOf(type), kind: type.kind, ...candidate };
  const invalid = (errors: readonly FieldError[]): StoreError =>
    errorOf('Invalid', type, object.metadata.name, textOf(errors), errors);
  const wrong = metadataErrors(type, object.metadata);
  if (wrong.length > 0) throw invalid(wrong);
  if (admit === undefined) return frozenCopy(object) as unknown as StoredObject;
  const verdict = old === undefined ? admit(operation, object) : admit(operation, object, old);
  if (verdict.errors !== undefined) throw invalid(verdict.errors);
  // Of the metadata, only what is the user's is admission's to change.
  const { labels, annotations } = verdict.object.metadata;
  const metadata = cleanMeta(
    { ...object.metadata, labels: labels ?? {}, annotations: annotations ?? {} },
    fixedMeta(object.metadata),
  );
  return frozenCopy({ ...verdict.object, metadata }) as unknown as StoredObject;
}

/** `a: Required value: ...`, or several in brackets. */
function textOf(errors: readonly FieldError[]): string {
  const texts = errors.map((error) => `${error.field}: ${causeText(error)}`);
  return texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
}

/** What `generation` counts the changes of. */
function contentOf(object: StoredObject): Record<string, unknown> {
  const { metadata: _m, ...content } = object as Record<string, unknown>;
  delete content['status'];
  return content;
}

function nameFrom(prefix: unknown, suffix: string): string {
  return typeof prefix === 'string' ? `${prefix.slice(0, 253 - suffix.length)}${suffix}` : String(prefix);
}

export function timestampOf(nowMs: number): string {
  return new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
}
