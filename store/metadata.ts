/**
 * The rules of `metadata`, which are the same for every kind: names, namespaces, labels, annotations, finalizers,
 * owners. Pure; it answers with the list of what is wrong and leaves specs to admission.
 */
import type { ObjectMeta } from './object-store.ts';
import type { ResourceType } from './resource.ts';
import type { FieldError } from './store-error.ts';

const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const qualified = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const maxAnnotationBytes = 256 * 1024;

export const nameRule =
  'lower-case letters, digits, "-" and ".", starting and ending with a letter or digit, at most 253';

export function metadataErrors(type: ResourceType, meta: ObjectMeta): FieldError[] {
  const errors: FieldError[] = [];
  const wrong = (field: string, message: string, expected?: string): void => {
    errors.push({
      field,
      message,
      ...(expected === undefined ? {} : { expected }),
      reason: 'FieldValueInvalid',
    });
  };
  if (!isObjectName(meta.name)) wrong('metadata.name', `${quoted(meta.name)} is not a name`, nameRule);
  if (type.namespaced) {
    if (!isNamespaceName(meta.namespace)) {
      wrong(
        'metadata.namespace',
        `${quoted(meta.namespace)} is not a namespace`,
        'at most 63 of a-z, 0-9 and "-"',
      );
    }
  } else if (meta.namespace !== undefined) {
    wrong('metadata.namespace', `${type.kind} is cluster-scoped and has no namespace`, 'no such field');
  }
  if (isMap(meta.labels, 'metadata.labels', wrong)) {
    for (const [key, value] of Object.entries(meta.labels)) {
      if (!isQualifiedName(key))
        wrong(`metadata.labels`, `${quoted(key)} is not a label's name`, '[PREFIX/]NAME');
      if (typeof value !== 'string' || value.length > 63 || !labelValue.test(value)) {
        wrong(
          `metadata.labels.${key}`,
          `${quoted(value)} is not a label's value`,
          'at most 63 of A-Z a-z 0-9 - _ .',
        );
      }
    }
  }
  if (isMap(meta.annotations, 'metadata.annotations', wrong)) {
    let bytes = 0;
    for (const [key, value] of Object.entries(meta.annotations)) {
      if (!isQualifiedName(key.toLowerCase())) {
        wrong('metadata.annotations', `${quoted(key)} is not an annotation's name`, '[PREFIX/]NAME');
      }
      if (typeof value !== 'string') wrong(`metadata.annotations.${key}`, 'is not a string', 'a string');
      else bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
    }
    if (bytes > maxAnnotationBytes) {
      wrong('metadata.annotations', `hold ${bytes} bytes together`, `at most ${maxAnnotationBytes} bytes`);
    }
  }
  if (isList(meta.finalizers, 'metadata.finalizers', wrong)) {
    for (const name of meta.finalizers) {
      if (typeof name !== 'string' || !isQualifiedName(name)) {
        wrong('metadata.finalizers', `${quoted(name)} is not a finalizer's name`, 'PREFIX/NAME');
      }
    }
  }
  if (isList(meta.ownerReferences, 'metadata.ownerReferences', wrong)) {
    meta.ownerReferences.forEach((owner, index) => {
      for (const field of ['apiVersion', 'kind', 'name', 'uid'] as const) {
        const value: unknown = (owner as Partial<typeof owner> | null)?.[field];
        if (typeof value !== 'string' || value === '') {
          wrong(`metadata.ownerReferences[${index}].${field}`, 'is missing', 'a non-empty string');
        }
      }
    });
    if (meta.ownerReferences.filter((owner) => owner?.controller === true).length > 1) {
      wrong('metadata.ownerReferences', 'more than one owner has controller: true', 'at most one');
    }
  }
  return errors;
}

export function isObjectName(name: unknown): name is string {
  return typeof name === 'string' && name.length <= 253 && subdomain.test(name);
}

export function isNamespaceName(name: unknown): name is string {
  return typeof name === 'string' && name.length <= 63 && label.test(name);
}

function isQualifiedName(name: string): boolean {
  const slash = name.indexOf('/');
  const prefix = slash < 0 ? undefined : name.slice(0, slash);
  const rest = name.slice(slash + 1);
  return (
    (prefix === undefined || (prefix.length <= 253 && subdomain.test(prefix))) &&
    rest.length <= 63 &&
    qualified.test(rest)
  );
}

type Wrong = (field: string, message: string, expected?: string) => void;

function isMap<V>(
  value: Record<string, V> | undefined,
  field: string,
  wrong: Wrong,
): value is Record<string, V> {
  if (value === undefined) return false;
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return true;
  wrong(field, 'is not a map', 'a map of strings');
  return false;
}

function isList<V>(value: V[] | undefined, field: string, wrong: Wrong): value is V[] {
  if (value === undefined) return false;
  if (Array.isArray(value)) return true;
  wrong(field, 'is not a list', 'a list');
  return false;
}

function quoted(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
