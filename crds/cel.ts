// Runs the CEL rules (x-kubernetes-validations) of a definition on an object, as the API server does: at
// every place a rule stands, with `self`, and `oldSelf` where the place existed before; rules that name
// oldSelf run on updates only, and within keyed lists compare items by key. Rules are parsed at first use.
// A rule that cannot be evaluated is an error of the object, never silence.
import { Environment } from '@marcbachmann/cel-js';
import type { CelRule, JsonSchema } from './definitions.ts';
import { fieldPath, stepsOf, type FieldError, type PathStep } from './field-error.ts';

interface CompiledRule {
  rule: CelRule;
  transition: boolean;
  holds: (context: { self: unknown; oldSelf: unknown }) => unknown;
}

/** Made at first use, since making it takes longer than most rules. */
const rulesEnvironment = once(() =>
  new Environment({ unlistedVariablesAreDyn: false })
    .registerVariable('self', 'dyn')
    .registerVariable('oldSelf', 'dyn'),
);
const compiled = new WeakMap<JsonSchema, CompiledRule[]>();
const reaching = new WeakMap<JsonSchema, boolean>();

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

export function checkCel(schema: JsonSchema, object: unknown, oldObject?: unknown): FieldError[] {
  const errors: FieldError[] = [];
  visit(schema, object, oldObject, [], errors);
  return errors;
}

function rulesOf(schema: JsonSchema): CompiledRule[] {
  const known = compiled.get(schema);
  if (known) return known;
  const environment = rulesEnvironment();
  const rules = (schema['x-kubernetes-validations'] ?? []).map((rule) => ({
    rule,
    transition: /\boldSelf\b/.test(rule.rule),
    holds: environment.parse(rule.rule) as CompiledRule['holds'],
  }));
  compiled.set(schema, rules);
  return rules;
}

/** Parses all rules of a schema, so that the first object that is judged need not wait for it. */
export function prepareCel(schema: JsonSchema): void {
  if (!hasRules(schema)) return;
  rulesOf(schema);
  for (const part of partsOf(schema)) prepareCel(part);
}

function partsOf({ properties, items, additionalProperties }: JsonSchema): JsonSchema[] {
  return [...Object.values(properties ?? {}), items, additionalProperties].filter(
    (part) => part !== undefined,
  );
}

/** Whether there is a rule here or below, so that the rest of the object need not be visited. */
function hasRules(schema: JsonSchema): boolean {
  const known = reaching.get(schema);
  if (known !== undefined) return known;
  const answer = (schema['x-kubernetes-validations']?.length ?? 0) > 0 || partsOf(schema).some(hasRules);
  reaching.set(schema, answer);
  return answer;
}

function visit(
  schema: JsonSchema,
  self: unknown,
  oldSelf: unknown,
  steps: PathStep[],
  errors: FieldError[],
): void {
  if (self === undefined || self === null || !hasRules(schema)) return;
  const rules = rulesOf(schema);
  const compare = oldSelf !== undefined && rules.some(({ transition }) => transition);
  const both = compare ? { self: canonical(schema, self), oldSelf: canonical(schema, oldSelf) } : undefined;
  for (const { rule, transition, holds } of rules) {
    if (transition && !both) continue;
    let outcome: unknown;
    try {
      outcome = holds(transition && both ? both : { self, oldSelf });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
      errors.push({
        field: fieldPath(steps),
        message: `rule "${rule.rule}" cannot be evaluated: ${why}`,
        reason: 'FieldValueInvalid',
      });
      continue;
    }
    if (outcome === true) continue;
    errors.push({
      field: fieldPath([...steps, ...stepsOf(rule.fieldPath ?? '')]),
      message: rule.message ?? `does not satisfy ${rule.rule}`,
      reason: rule.reason ?? 'FieldValueInvalid',
    });
  }
  if (Array.isArray(self) && schema.items) {
    const keys = schema['x-kubernetes-list-map-keys'];
    const before =
      keys && Array.isArray(oldSelf) ? new Map(oldSelf.map((item) => [keyOf(item, keys), item])) : undefined;
    for (const [index, item] of self.entries())
      visit(schema.items, item, keys && before?.get(keyOf(item, keys)), [...steps, index], errors);
  } else if (typeof self === 'object') {
    for (const [name, part] of Object.entries(self)) {
      const inner = schema.properties?.[name] ?? schema.additionalProperties;
      if (inner)
        visit(
          inner,
          part,
          (oldSelf as Record<string, unknown> | undefined)?.[name],
          [...steps, name],
          errors,
        );
    }
  }
}

function keyOf(item: unknown, keys: readonly string[]): string {
  return JSON.stringify(keys.map((key) => (item as Record<string, unknown> | null)?.[key]));
}

/** The same value with sets and keyed lists in one order, since their order has no meaning in comparisons. */
function canonical(schema: JsonSchema, value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = schema.items;
    const parts =
      items && items.type === 'object'
        ? value.map((item: unknown) => canonical(items, item))
        : (value as unknown[]);
    const listType = schema['x-kubernetes-list-type'];
    if (listType !== 'map' && listType !== 'set') return parts;
    const keys = schema['x-kubernetes-list-map-keys'];
    const label = (item: unknown) => (keys ? keyOf(item, keys) : JSON.stringify(item));
    return parts
      .map((item) => ({ item, label: label(item) }))
      .sort((a, b) => (a.label < b.label ? -1 : a.label > b.label ? 1 : 0))
      .map(({ item }) => item);
  }
  if (typeof value !== 'object' || value === null || !schema.properties) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, part]) => {
      const inner = schema.properties![name];
      return [name, inner && typeof part === 'object' ? canonical(inner, part) : part];
    }),
  );
}
