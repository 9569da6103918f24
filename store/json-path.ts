/**
 * The part of JSONPath that printer columns use: fields, quoted fields, list indexes, `[*]` and filters such as
 * `.status.conditions[?(@.type=="Ready")].status`. Pure; a path that leads nowhere gives nothing.
 */
export type PathStep =
  | { readonly kind: 'field'; readonly name: string }
  | { readonly kind: 'index'; readonly index: number }
  | { readonly kind: 'all' }
  | { readonly kind: 'filter'; readonly field: readonly string[]; readonly equals: string };

const step =
  /\.([A-Za-z0-9_-]+)|\[(-?\d+)\]|\[['"]([^'"]*)['"]\]|(\[\*\]|\.\*)|\[\?\(@\.([A-Za-z0-9_.-]+)\s*==\s*(?:"([^"]*)"|'([^']*)'|(true|false|\d+))\)\]/y;

/** Undefined when the path is not one of these. */
export function parseJsonPath(path: string): readonly PathStep[] | undefined {
  const text = path.replace(/^\{(.*)\}$/, '$1').replace(/\\\./g, '\u0000');
  const whole = text.startsWith('.') || text.startsWith('[') ? text : `.${text}`;
  const steps: PathStep[] = [];
  step.lastIndex = 0;
  while (step.lastIndex < whole.length) {
    const match = step.exec(whole);
    if (match === null) return undefined;
    const [, field, index, quoted, all, filterField, double, single, bare] = match;
    if (field !== undefined || quoted !== undefined) steps.push({ kind: 'field', name: (field ?? quoted)! });
    else if (index !== undefined) steps.push({ kind: 'index', index: Number(index) });
    else if (all !== undefined) steps.push({ kind: 'all' });
    else steps.push({ kind: 'filter', field: filterField!.split('.'), equals: (double ?? single ?? bare)! });
  }
  return steps;
}

/** All values at the path. */
export function valuesAt(root: unknown, steps: readonly PathStep[]): unknown[] {
  let found: unknown[] = [root];
  for (const one of steps) found = found.flatMap((value) => follow(value, one));
  return found;
}

function follow(value: unknown, one: PathStep): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  switch (one.kind) {
    case 'field':
      return Object.hasOwn(value, one.name) ? [(value as Record<string, unknown>)[one.name]] : [];
    case 'index': {
      const item: unknown = Array.isArray(value) ? value.at(one.index) : undefined;
      return item === undefined ? [] : [item];
    }
    case 'all':
      return Object.values(value);
    case 'filter':
      return Object.values(value).filter((item: unknown) => {
        let inner: unknown = item;
        for (const name of one.field) inner = (inner as Record<string, unknown> | null | undefined)?.[name];
        return inner !== undefined && inner !== null && `${inner as string}` === one.equals;
      });
  }
}
