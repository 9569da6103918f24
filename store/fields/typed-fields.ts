/**
 * What a schema says about the parts of an object that can have different owners: which lists are keyed, which are sets,
 * what is one piece. From it: the places of an object, what differs between two, one merged into the other, and an object
 * without some places. Pure; where a schema says nothing, objects are maps of fields and lists are one piece.
 */
import type { JsonSchema } from '../../crds/definitions.ts';
import { samePlain } from '../plain.ts';
import { FieldSetBuilder, fieldStep, noFields, type FieldSet } from './field-set.ts';

type Fields = Record<string, unknown>;
type Part = { readonly step: string; readonly schema: JsonSchema | undefined; readonly value: unknown };

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

type Shape = 'piece' | 'fields' | 'keyed' | 'set';

/** A value of another type than the schema's is one piece; admission will refuse it. */
function shapeOf(schema: JsonSchema | undefined, value: unknown): Shape {
  if (isFields(value)) return schema?.['x-kubernetes-map-type'] === 'atomic' ? 'piece' : 'fields';
  if (!Array.isArray(value)) return 'piece';
  switch (schema?.['x-kubernetes-list-type']) {
    case 'map':
      return value.every(isFields) ? 'keyed' : 'piece';
    case 'set':
      return 'set';
    default:
      return 'piece';
  }
}

function schemaBelow(schema: JsonSchema | undefined, name: string): JsonSchema | undefined {
  return isStructField(schema, name) ? schema!.properties![name] : schema?.additionalProperties;
}

const isStructField = (schema: JsonSchema | undefined, name: string): boolean =>
  schema?.properties !== undefined && Object.hasOwn(schema.properties, name);

function partsOf(schema: JsonSchema | undefined, value: unknown, shape: Shape): Part[] {
  switch (shape) {
    case 'piece':
      return [];
    case 'fields':
      return Object.entries(value as Fields).map(([name, inner]) => ({
        step: fieldStep(name),
        schema: schemaBelow(schema, name),
        value: inner,
      }));
    case 'keyed':
      return (value as Fields[]).map((item) => ({
        step: keyStep(schema!, item),
        schema: schema!.items,
        value: item,
      }));
    case 'set':
      return (value as unknown[]).map((item) => ({
        step: `v:${JSON.stringify(item)}`,
        schema: schema!.items,
        value: item,
      }));
  }
}

function keyStep(schema: JsonSchema, item: Fields): string {
  const keys = [...(schema['x-kubernetes-list-map-keys'] ?? [])].sort();
  const chosen = keys.map((key) => [key, item[key] ?? schema.items?.properties?.[key]?.default ?? null]);
  return `k:${JSON.stringify(Object.fromEntries(chosen))}`;
}

/** The places of an object: its leaves, items of lists, and keys of maps. */
export function fieldSetOf(schema: JsonSchema | undefined, value: unknown): FieldSet {
  const builder = new FieldSetBuilder();
  collect(schema, value, [], builder);
  return builder.set;
}

function collect(
  schema: JsonSchema | undefined,
  value: unknown,
  steps: readonly string[],
  builder: FieldSetBuilder,
): void {
  const shape = shapeOf(schema, value);
  if (shape === 'piece') {
    if (steps.length > 0) builder.add(steps);
    return;
  }
  for (const part of partsOf(schema, value, shape)) {
    const here = [...steps, part.step];
    collect(part.schema, part.value, here, builder);
    const listItem = shape !== 'fields';
    const mapKey = !listItem && !isStructField(schema, part.step.slice(2));
    const empty =
      part.value === null || (typeof part.value === 'object' && Object.keys(part.value).length === 0);
    if (listItem || mapKey || empty) builder.add(here);
  }
}

export interface Differences {
  readonly added: FieldSet;
  readonly changed: FieldSet;
  readonly removed: FieldSet;
}

export function differencesOf(schema: JsonSchema | undefined, before: unknown, after: unknown): Differences {
  const added = new FieldSetBuilder();
  const changed = new FieldSetBuilder();
  const removed = new FieldSetBuilder();
  compare(schema, before, after, [], { added, changed, removed });
  return { added: added.set, changed: changed.set, removed: removed.set };
}

interface Builders {
  readonly added: FieldSetBuilder;
  readonly changed: FieldSetBuilder;
  readonly removed: FieldSetBuilder;
}

function compare(
  schema: JsonSchema | undefined,
  before: unknown,
  after: unknown,
  steps: readonly string[],
  found: Builders,
): void {
  if (before === after) return;
  const there = after === undefined ? before : after;
  const shape = shapeOf(schema, there);
  const mixed = before !== undefined && after !== undefined && shapeOf(schema, before) !== shape;
  if (steps.length > 0) {
    if (before === undefined) found.added.add(steps);
    else if (after === undefined) found.removed.add(steps);
  }
  if (shape === 'piece' || mixed) {
    if (before !== undefined && after !== undefined && !samePlain(before, after)) found.changed.add(steps);
    return;
  }
  const old = new Map(partsOf(schema, before ?? emptyOf(shape), shape).map((part) => [part.step, part]));
  const seen = new Set<string>();
  for (const part of partsOf(schema, after ?? emptyOf(shape), shape)) {
    if (seen.has(part.step)) continue;
    seen.add(part.step);
    compare(part.schema, old.get(part.step)?.value, part.value, [...steps, part.step], found);
  }
  for (const [step, part] of old)
    if (!seen.has(step)) compare(part.schema, part.value, undefined, [...steps, step], found);
}

const emptyOf = (shape: Shape): unknown => (shape === 'fields' ? {} : []);

/** `live` with what `wanted` says in it; what `wanted` does not name stays. */
export function merged(schema: JsonSchema | undefined, live: unknown, wanted: unknown): unknown {
  if (live === undefined || live === null) return wanted;
  const shape = shapeOf(schema, wanted);
  if (shape === 'piece' || shapeOf(schema, live) !== shape) return wanted;
  const old = partsOf(schema, live, shape);
  const before = new Map(old.map((part) => [part.step, part.value]));
  const ours = partsOf(schema, wanted, shape);
  if (shape === 'fields') {
    const result: Fields = { ...(live as Fields) };
    for (const { step, schema: inner, value } of ours)
      result[step.slice(2)] = merged(inner, before.get(step), value);
    return result;
  }
  // Our items in our order; each of the others stays behind the one it stood behind.
  const wantedSteps = new Set(ours.map(({ step }) => step));
  const result: unknown[] = [];
  let at = 0;
  const takeOthers = (): void => {
    for (; at < old.length && !wantedSteps.has(old[at]!.step); at += 1) result.push(old[at]!.value);
  };
  for (const { step, schema: inner, value } of ours) {
    takeOthers();
    result.push(merged(inner, before.get(step), value));
    if (old[at]?.step === step) at += 1;
  }
  return [...result, ...old.slice(at).flatMap((part) => (wantedSteps.has(part.step) ? [] : [part.value]))];
}

/** The value without the members of a set and all below them. */
export function withoutFields(schema: JsonSchema | undefined, value: unknown, gone: FieldSet): unknown {
  if (gone.below.size === 0) return value;
  const shape = shapeOf(schema, value);
  const kept = partsOf(schema, value, shape).flatMap((part) => {
    const inner = gone.below.get(part.step) ?? noFields;
    return inner.member ? [] : [{ ...part, value: withoutFields(part.schema, part.value, inner) }];
  });
  switch (shape) {
    case 'piece':
      return value;
    case 'fields':
      return Object.fromEntries(kept.map(({ step, value: inner }) => [step.slice(2), inner]));
    case 'keyed':
    case 'set':
      return kept.map((part) => part.value);
  }
}

/** The set with every field of a struct that has members below as a member too: who owns a part owns the whole's being there. */
export function withParents(schema: JsonSchema | undefined, set: FieldSet): FieldSet {
  const below = new Map<string, FieldSet>();
  for (const [step, inner] of set.below) {
    const name = step.slice(2);
    const isField = step.startsWith('f:');
    const lower = withParents(isField ? schemaBelow(schema, name) : schema?.items, inner);
    const member = lower.member || (isField && isStructField(schema, name) && lower.below.size > 0);
    below.set(step, { member, below: lower.below });
  }
  return { member: set.member, below };
}
