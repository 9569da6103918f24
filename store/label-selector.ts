/**
 * Label selectors in kubectl's notation (`a=b,c!=d,e in (x,y),f notin (z),g,!h`) and the field selectors every kind
 * has (`metadata.name`, `metadata.namespace`). Pure: text in, predicate out. Text it cannot read is BadRequest.
 */
import type { KubernetesObject, SelectOptions } from './object-store.ts';
import { parseJsonPath, valuesAt, type PathStep } from './json-path.ts';
import type { ResourceType } from './resource.ts';
import { StoreError } from './store-error.ts';

export type Requirement =
  | { readonly key: string; readonly operator: 'In' | 'NotIn'; readonly values: readonly string[] }
  | { readonly key: string; readonly operator: 'Exists' | 'DoesNotExist' };

export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
    readonly values?: readonly string[];
  }[];
}

export type Labels = Readonly<Record<string, string>>;

const key = String.raw`((?:[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)`;
const value = String.raw`((?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?)`;
const equality = new RegExp(String.raw`^${key}\s*(==|=|!=)\s*${value}$`);
const set = new RegExp(String.raw`^${key}\s+(in|notin)\s*\(([^()]*)\)$`);
const presence = new RegExp(String.raw`^(!?)\s*${key}$`);
const setMember = new RegExp(`^${value}$`);

export function parseLabelSelector(text: string): readonly Requirement[] {
  if (text.trim() === '') return [];
  return splitOutsideParentheses(text).map((part) => requirementOf(part.trim(), text));
}

function requirementOf(part: string, whole: string): Requirement {
  let match = equality.exec(part);
  if (match) {
    return { key: match[1]!, operator: match[2] === '!=' ? 'NotIn' : 'In', values: [match[3]!] };
  }
  match = set.exec(part);
  if (match) {
    const values = match[3]!.split(',').map((item) => item.trim());
    if (values.every((item) => setMember.test(item))) {
      return { key: match[1]!, operator: match[2] === 'in' ? 'In' : 'NotIn', values };
    }
  }
  match = presence.exec(part);
  if (match) return { key: match[2]!, operator: match[1] === '!' ? 'DoesNotExist' : 'Exists' };
  throw new StoreError(
    'BadRequest',
    `Cannot read "${part}" in the label selector "${whole}": expected KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY`,
  );
}

function splitOutsideParentheses(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '(') depth += 1;
    else if (text[at] === ')') depth -= 1;
    else if (text[at] === ',' && depth === 0) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

export function matchesLabels(requirements: readonly Requirement[], labels: Labels | undefined): boolean {
  return requirements.every((requirement) => {
    const found =
      labels !== undefined && Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
    switch (requirement.operator) {
      case 'In':
        return found !== undefined && requirement.values.includes(found);
      case 'NotIn':
        return found === undefined || !requirement.values.includes(found);
      case 'Exists':
        return found !== undefined;
      case 'DoesNotExist':
        return found === undefined;
    }
  });
}

interface FieldRequirement {
  readonly path: readonly PathStep[];
  readonly equal: boolean;
  readonly value: string;
}

const alwaysSelectable = ['.metadata.name', '.metadata.namespace'];

function parseFieldSelector(text: string, selectable: readonly string[]): readonly FieldRequirement[] {
  if (text.trim() === '') return [];
  return text.split(/(?<!\\),/).map((part) => {
    const match = /^\s*([^=!\s]+)\s*(==|=|!=)(.*)$/.exec(part);
    const known = [...alwaysSelectable, ...selectable];
    const path = match === null ? undefined : known.find((one) => one === `.${match[1]}`);
    if (match === null || path === undefined) {
      const names = known.map((one) => one.slice(1)).join(', ');
      throw new StoreError(
        'BadRequest',
        `field label not supported: cannot select by "${part.trim()}": expected FIELD=VALUE or FIELD!=VALUE with one of ${names}`,
      );
    }
    const value = match[3]!.trim().replaceAll(/\\([\\,=])/g, '$1');
    return { path: parseJsonPath(path) ?? [], equal: match[2] !== '!=', value };
  });
}

export type Selection = (object: KubernetesObject) => boolean;

/** The predicate of a list's or a watch's options; undefined when everything matches. */
export function selectionOf(options: SelectOptions, type?: ResourceType): Selection | undefined {
  const labels = parseLabelSelector(options.labelSelector ?? '');
  const fields = parseFieldSelector(options.fieldSelector ?? '', type?.selectableFields ?? []);
  const { namespace } = options;
  if (labels.length === 0 && fields.length === 0 && namespace === undefined) return undefined;
  return (object) =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    fields.every(({ path, equal, value: wanted }) => {
      const [found] = valuesAt(object, path);
      return (fieldText(found) === wanted) === equal;
    }) &&
    matchesLabels(labels, object.metadata.labels);
}

const fieldText = (value: unknown): string =>
  value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value);
