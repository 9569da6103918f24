/**
 * Sets of places in an object, as Kubernetes writes them in `managedFields` (FieldsV1): a tree whose steps are fields
 * (`f:name`), items of keyed lists (`k:{"name":"x"}`), of sets (`v:"x"`). A place is a member apart from what is below it.
 * Pure and immutable; it knows no schema and no object.
 */
export interface FieldSet {
  /** The place itself belongs to the set. */
  readonly member: boolean;
  readonly below: ReadonlyMap<string, FieldSet>;
}

export type Steps = readonly string[];

export const noFields: FieldSet = { member: false, below: new Map() };

export const fieldStep = (name: string): string => `f:${name}`;

export function isEmptySet(set: FieldSet): boolean {
  return !set.member && set.below.size === 0;
}

/** A set that grows while a walk finds its members. */
export class FieldSetBuilder {
  readonly #root: Growing = { member: false, below: new Map() };

  add(steps: Steps): void {
    let at = this.#root;
    for (const step of steps) {
      let next = at.below.get(step);
      if (next === undefined) at.below.set(step, (next = { member: false, below: new Map() }));
      at = next;
    }
    at.member = true;
  }

  get set(): FieldSet {
    return this.#root;
  }
}

interface Growing {
  member: boolean;
  below: Map<string, Growing>;
}

export function setOf(...places: Steps[]): FieldSet {
  const builder = new FieldSetBuilder();
  for (const place of places) builder.add(place);
  return builder.set;
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmptySet(a)) return b;
  if (isEmptySet(b)) return a;
  const below = new Map(a.below);
  for (const [step, inner] of b.below) below.set(step, union(below.get(step) ?? noFields, inner));
  return { member: a.member || b.member, below };
}

export function difference(a: FieldSet, b: FieldSet): FieldSet {
  return combined(a, b, (one, other) => one && !other);
}

export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  return combined(a, b, (one, other) => one && other);
}

function combined(a: FieldSet, b: FieldSet, keep: (a: boolean, b: boolean) => boolean): FieldSet {
  const below = new Map<string, FieldSet>();
  for (const [step, inner] of a.below) {
    const rest = combined(inner, b.below.get(step) ?? noFields, keep);
    if (!isEmptySet(rest)) below.set(step, rest);
  }
  return { member: keep(a.member, b.member), below };
}

/** Without the members of `b` and all that is below them. */
export function withoutBranches(a: FieldSet, b: FieldSet): FieldSet {
  if (b.member) return noFields;
  const below = new Map<string, FieldSet>();
  for (const [step, inner] of a.below) {
    const other = b.below.get(step);
    const rest = other === undefined ? inner : withoutBranches(inner, other);
    if (!isEmptySet(rest)) below.set(step, rest);
  }
  return { member: a.member, below };
}

export function sameSet(a: FieldSet, b: FieldSet): boolean {
  if (a === b) return true;
  if (a.member !== b.member || a.below.size !== b.below.size) return false;
  for (const [step, inner] of a.below) {
    const other = b.below.get(step);
    if (other === undefined || !sameSet(inner, other)) return false;
  }
  return true;
}

/** Every member, in order. */
export function* membersOf(set: FieldSet, steps: Steps = []): Generator<Steps> {
  if (set.member) yield steps;
  for (const [step, inner] of sorted(set)) yield* membersOf(inner, [...steps, step]);
}

const sorted = (set: FieldSet): [string, FieldSet][] =>
  [...set.below].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

export type FieldsV1 = { readonly [step: string]: FieldsV1 };

export function toFieldsV1(set: FieldSet): FieldsV1 {
  const fields: Record<string, FieldsV1> = {};
  if (set.member && set.below.size > 0) fields['.'] = {};
  for (const [step, inner] of sorted(set)) fields[step] = toFieldsV1(inner);
  return fields;
}

/** Undefined when it is none. */
export function fromFieldsV1(value: unknown, root = true): FieldSet | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const below = new Map<string, FieldSet>();
  let dot = false;
  for (const [step, inner] of Object.entries(value)) {
    if (step === '.') {
      dot = true;
      continue;
    }
    if (!/^[fkvi]:/.test(step)) return undefined;
    const set = fromFieldsV1(inner, false);
    if (set === undefined) return undefined;
    below.set(step, set);
  }
  return { member: !root && (dot || below.size === 0), below };
}

/** As errors name a place: `.spec.processes[name="all"].command`. */
export function placeText(steps: Steps): string {
  return steps
    .map((step) => {
      const rest = step.slice(2);
      switch (step[0]) {
        case 'f':
          return `.${rest}`;
        case 'k': {
          const keys = Object.entries(JSON.parse(rest) as Record<string, unknown>);
          return `[${keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(',')}]`;
        }
        case 'v':
          return `[=${rest}]`;
        default:
          return `[${rest}]`;
      }
    })
    .join('');
}
