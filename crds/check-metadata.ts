// The rules of Kubernetes for names, labels and annotations, which its API server checks by itself and the
// file store through this. Pure.
import { fieldPath, type FieldError } from './field-error.ts';
import type { KindInfo, ObjectMeta } from './objects.ts';

const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const qualified = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const annotationBytes = 256 * 1024;

export function checkMetadata(info: KindInfo, metadata: ObjectMeta): FieldError[] {
  const errors: FieldError[] = [];
  const wrong = (steps: string[], message: string, expected?: string) =>
    errors.push({
      field: fieldPath(['metadata', ...steps]),
      message,
      reason: 'FieldValueInvalid',
      ...(expected === undefined ? {} : { expected }),
    });
  const { name, generateName, namespace } = metadata;
  if (!name && !generateName)
    errors.push({
      field: 'metadata.name',
      message: 'is required; give a name or generateName',
      reason: 'FieldValueRequired',
    });
  const lowerCase = 'lower-case letters, digits, "-" and "."';
  if (name && !subdomain.test(name)) wrong(['name'], `cannot be "${name}"`, lowerCase);
  // What is generated is appended, so a trailing "-" or "." is in order here.
  if (generateName && !subdomain.test(`${generateName}x`))
    wrong(['generateName'], `cannot be "${generateName}"`, lowerCase);
  if (info.scope === 'Cluster' && namespace)
    errors.push({
      field: 'metadata.namespace',
      message: `must not be given: a ${info.kind} belongs to the whole cluster`,
      reason: 'FieldValueForbidden',
    });
  if (namespace && !label.test(namespace))
    wrong(['namespace'], `cannot be "${namespace}"`, 'lower-case letters, digits and "-"');
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    if (!isQualifiedName(key))
      wrong(
        ['labels', key],
        'is no label name',
        '[PREFIX/]NAME, NAME of at most 63 letters, digits, "-", "_" and "."',
      );
    if (value.length > 63 || (value !== '' && !qualified.test(value)))
      wrong(
        ['labels', key],
        `cannot be "${value.slice(0, 80)}"`,
        'at most 63 letters, digits, "-", "_" and "."',
      );
  }
  let bytes = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
    if (!isQualifiedName(key.toLowerCase()))
      wrong(['annotations', key], 'is no annotation name', '[PREFIX/]NAME');
  }
  if (bytes > annotationBytes)
    errors.push({
      field: 'metadata.annotations',
      message: `have ${bytes} bytes together; at most ${annotationBytes} are allowed`,
      reason: 'FieldValueTooLong',
    });
  return errors;
}

/** `[prefix/]name` as label and annotation keys are. */
export function isQualifiedName(key: string): boolean {
  const parts = key.split('/');
  const name = parts.pop()!;
  if (parts.length > 1 || name.length > 63 || !qualified.test(name)) return false;
  const prefix = parts[0];
  return prefix === undefined || (prefix.length <= 253 && subdomain.test(prefix));
}
