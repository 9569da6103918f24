/**
 * Plain JSON values: a copy that nothing can change any more, and comparison. What cannot be written as JSON and
 * read back the same (functions, NaN, cycles, `__proto__` keys) is refused here, once, so that the store holds
 * only what its disk can hold.
 */
import { StoreError } from './store-error.ts';

const maxDepth = 200;

/** A deep, frozen copy. `undefined` fields are left out, dates become ISO strings, as JSON.stringify would do. */
export function frozenCopy<T>(value: T): T {
  return copy(value, true, '', 0) as T;
}

/**
 * What JSON.parse made and nobody else holds, frozen as it is: the same as a frozen copy, in half the time. It is deep already, so it
 * holds nothing that JSON cannot hold but a field named `__proto__`.
 */
export function frozenParsed<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Object.hasOwn(value, '__proto__')) throw notJson('', 'a field named __proto__');
  for (const field of Object.values(value)) frozenParsed(field);
  return Object.freeze(value);
}

/** A deep copy that may be changed. */
export function plainCopy<T>(value: T): T {
  return copy(value, false, '', 0) as T;
}

function copy(value: unknown, freeze: boolean, path: string, depth: number): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw notJson(path, String(value));
      return Object.is(value, -0) ? 0 : value;
    case 'object':
      break;
    default:
      throw notJson(path, typeof value);
  }
  if (value === null) return null;
  if (depth > maxDepth) {
    const where = path.length > 120 ? `${path.slice(0, 120)}...` : path;
    throw new StoreError('BadRequest', `The object is nested more than ${maxDepth} levels deep at ${where}`);
  }
  if (Array.isArray(value)) {
    const items = value.map((item: unknown, index) =>
      item === undefined ? null : copy(item, freeze, `${path}[${index}]`, depth + 1),
    );
    return freeze ? Object.freeze(items) : items;
  }
  if (value instanceof Date) return value.toISOString();
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const field = (value as Record<string, unknown>)[key];
    if (field === undefined) continue;
    if (key === '__proto__') throw notJson(path, 'a field named __proto__');
    result[key] = copy(field, freeze, path === '' ? key : `${path}.${key}`, depth + 1);
  }
  return freeze ? Object.freeze(result) : result;
}

function notJson(path: string, found: string): StoreError {
  return new StoreError(
    'BadRequest',
    `${path === '' ? 'The object' : path} holds ${found}, which JSON cannot hold`,
  );
}

/** Deep equality of plain values; the order of an object's fields does not count, `undefined` is as absent. */
export function samePlain(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, index) => samePlain(item, b[index]));
  }
  if (Array.isArray(b)) return false;
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  let fields = 0;
  for (const key of Object.keys(left)) {
    if (left[key] === undefined) continue;
    fields += 1;
    if (!samePlain(left[key], right[key])) return false;
  }
  return fields === Object.keys(right).filter((key) => right[key] !== undefined).length;
}
