/**
 * The two patch formats of the API: JSON merge patch (RFC 7386) and JSON patch (RFC 6902). Pure functions over plain
 * values; the target is never changed. What a patch may touch is for the store to decide, not for this file.
 */
import type { JsonPatchOperation, Patch } from './object-store.ts';
import { plainCopy, samePlain } from './plain.ts';
import { StoreError } from './store-error.ts';

type Fields = Record<string, unknown>;

/** Of all patches but applies, which are no change of a value but of its owners. */
export function applyPatch(target: unknown, patch: Exclude<Patch, { type: 'apply' }>): unknown {
  return patch.type === 'merge' ? mergePatch(target, patch.patch) : jsonPatch(target, patch.patch);
}

export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isFields(patch)) return patch;
  const result: Fields = isFields(target) ? { ...target } : {};
  for (const key of Object.keys(patch)) {
    if (key === '__proto__')
      throw new StoreError('BadRequest', 'A patch may not set a field named __proto__');
    const value = patch[key];
    if (value === undefined) continue;
    if (value === null) delete result[key];
    else result[key] = mergePatch(Object.hasOwn(result, key) ? result[key] : undefined, value);
  }
  return result;
}

/** The smallest merge patch that makes `after` of `before`; undefined when they are the same. */
export function mergePatchOf(before: unknown, after: unknown): unknown {
  if (samePlain(before, after)) return undefined;
  if (!isFields(before) || !isFields(after)) return after;
  const patch: Fields = {};
  for (const key of Object.keys(before)) {
    if (before[key] !== undefined && after[key] === undefined) patch[key] = null;
  }
  for (const key of Object.keys(after)) {
    const change = mergePatchOf(before[key], after[key]);
    if (change !== undefined) patch[key] = change;
  }
  return patch;
}

export function jsonPatch(target: unknown, operations: readonly JsonPatchOperation[]): unknown {
  if (!Array.isArray(operations)) throw new StoreError('BadRequest', 'A JSON patch is a list of operations');
  const root = { value: plainCopy(target) };
  operations.forEach((operation: JsonPatchOperation, index) => applyOperation(root, operation, index));
  return root.value;
}

function applyOperation(root: { value: unknown }, operation: JsonPatchOperation, index: number): void {
  const fail = (why: string): StoreError =>
    new StoreError(
      'Invalid',
      `Operation ${index} (${operation.op} ${operation.path}) of the JSON patch: ${why}`,
    );
  const at = (path: unknown): Place => placeOf(root, path, fail);
  const place = at(operation.path);
  switch (operation.op) {
    case 'add':
      return place.add(plainCopy(operation.value ?? null));
    case 'remove':
      place.take();
      return;
    case 'replace':
      place.replace(plainCopy(operation.value ?? null));
      return;
    case 'move':
      if (`${operation.path}/`.startsWith(`${operation.from}/`) && operation.path !== operation.from) {
        throw fail('cannot move a value into itself');
      }
      return at(operation.path).add(at(operation.from).take());
    case 'copy':
      return place.add(plainCopy(at(operation.from).get()));
    case 'test':
      if (!samePlain(place.get(), operation.value)) throw fail('the value there is another');
      return;
    default:
      throw fail('expected op add, remove, replace, move, copy or test');
  }
}

interface Place {
  get(): unknown;
  add(value: unknown): void;
  replace(value: unknown): void;
  take(): unknown;
}

function placeOf(root: { value: unknown }, path: unknown, fail: (why: string) => StoreError): Place {
  if (typeof path !== 'string' || (path !== '' && !path.startsWith('/'))) {
    throw fail('expected a path that starts with /');
  }
  if (path === '') {
    return {
      get: () => root.value,
      add: (value) => void (root.value = value),
      replace: (value) => void (root.value = value),
      take: () => {
        throw fail('the whole object cannot be removed');
      },
    };
  }
  const steps = path
    .slice(1)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  if (steps.includes('__proto__')) throw fail('a field named __proto__ is not allowed');
  const last = steps.pop()!;
  let parent: unknown = root.value;
  for (const step of steps) {
    parent = Array.isArray(parent)
      ? parent[indexOf(step, parent.length - 1, fail)]
      : isFields(parent) && Object.hasOwn(parent, step)
        ? parent[step]
        : undefined;
    if (parent === undefined) throw fail(`there is nothing at "${step}"`);
  }
  if (Array.isArray(parent)) return listPlace(parent, last, fail);
  if (isFields(parent)) return fieldPlace(parent, last, fail);
  throw fail(`"${last}" is looked for in a value that is neither an object nor a list`);
}

function listPlace(list: unknown[], step: string, fail: (why: string) => StoreError): Place {
  const there = (): number => indexOf(step, list.length - 1, fail);
  return {
    get: () => list[there()],
    add: (value) => void list.splice(step === '-' ? list.length : indexOf(step, list.length, fail), 0, value),
    replace: (value) => void (list[there()] = value),
    take: () => list.splice(there(), 1)[0],
  };
}

function fieldPlace(fields: Fields, step: string, fail: (why: string) => StoreError): Place {
  const there = (): unknown => {
    if (!Object.hasOwn(fields, step)) throw fail('there is no such field');
    return fields[step];
  };
  return {
    get: there,
    add: (value) => void (fields[step] = value),
    replace: (value) => {
      there();
      fields[step] = value;
    },
    take: () => {
      const value = there();
      delete fields[step];
      return value;
    },
  };
}

function indexOf(step: string, highest: number, fail: (why: string) => StoreError): number {
  const index = /^(0|[1-9]\d{0,8})$/.test(step) ? Number(step) : -1;
  if (index < 0 || index > highest) throw fail(`"${step}" is not an index of the list there`);
  return index;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
