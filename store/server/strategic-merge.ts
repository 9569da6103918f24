/**
 * Strategic merge patches, which kubectl sends for the kinds that it has compiled in: a merge patch whose lists of finalizers
 * and owners are merged item by item, with directives to replace and delete. Pure; other lists are replaced whole.
 */
import { StoreError } from '../store-error.ts';

type Fields = Record<string, unknown>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The lists that are merged: by the value itself, or by a key of the items. */
const mergedLists: Readonly<Record<string, { readonly key?: string }>> = {
  'metadata.finalizers': {},
  'metadata.ownerReferences': { key: 'uid' },
};

export function strategicMerge(target: unknown, patch: unknown): unknown {
  return mergedFields(target, patch, []);
}

function mergedFields(target: unknown, patch: unknown, path: readonly string[]): unknown {
  if (!isFields(patch)) return patch;
  const { $patch: directive, ...changes } = patch;
  if (directive === 'delete') return undefined;
  if (directive === 'replace') return withoutDirectives(changes);
  if (directive !== undefined && directive !== 'merge') throw unknownDirective('$patch', directive);
  const result: Fields = isFields(target) ? { ...target } : {};
  const retained = changes['$retainKeys'];
  if (Array.isArray(retained)) {
    for (const key of Object.keys(result)) if (!retained.includes(key)) delete result[key];
  }
  for (const [key, value] of Object.entries(changes)) {
    if (key === '__proto__')
      throw new StoreError('BadRequest', 'A patch may not set a field named __proto__');
    // The order that the client would like of a merged list is a wish.
    if (key === '$retainKeys' || key.startsWith('$setElementOrder/')) continue;
    if (key.startsWith('$deleteFromPrimitiveList/')) {
      const name = key.slice(key.indexOf('/') + 1);
      const gone = Array.isArray(value) ? (value as unknown[]) : [];
      const list = result[name];
      if (Array.isArray(list)) result[name] = list.filter((item) => !gone.includes(item));
      continue;
    }
    if (key.startsWith('$')) throw unknownDirective(key, value);
    const merged = value === null ? undefined : mergedValue(result[key], value, [...path, key]);
    if (merged === undefined) delete result[key];
    else result[key] = merged;
  }
  return result;
}

function mergedValue(target: unknown, value: unknown, path: readonly string[]): unknown {
  if (!Array.isArray(value)) return mergedFields(target, value, path);
  const how = mergedLists[path.join('.')];
  if (how === undefined || !Array.isArray(target)) {
    return value.filter((item) => !(isFields(item) && item['$patch'] !== undefined));
  }
  const { key } = how;
  const identityOf = (item: unknown): unknown => (key === undefined ? item : (item as Fields | null)?.[key]);
  const result = [...(target as unknown[])];
  for (const item of value as unknown[]) {
    if (isFields(item) && item['$patch'] === 'replace') return value.filter((other) => other !== item);
    const at = result.findIndex((other) => identityOf(other) === identityOf(item));
    if (isFields(item) && item['$patch'] === 'delete') {
      if (at >= 0) result.splice(at, 1);
    } else if (at < 0) result.push(item);
    else result[at] = mergedFields(result[at], item, path);
  }
  return result;
}

function withoutDirectives(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([key]) => !key.startsWith('$')));
}

const unknownDirective = (key: string, value: unknown): StoreError =>
  new StoreError('BadRequest', `The patch has an unknown directive ${key}: ${JSON.stringify(value)}`);
