// Makes docs/reference/*.md from the definitions and from the tables of names and conditions: one page a
// kind with every field, its type, bounds, default and meaning, and the rules between fields. Pure.
import { conditionTypes, reasons } from './conditions.ts';
import type { CelRule, Definition, JsonSchema } from './definitions.ts';
import { annotations, finalizers, labels, type Name } from './names.ts';

const notice =
  '<!-- Generated from crds/ by crds/generate-reference.ts. Do not edit: run `make generate`. -->\n';

interface Row {
  path: string;
  schema: JsonSchema;
  required: boolean;
}

function rowsOf(schema: JsonSchema, path: string): Row[] {
  const rows: Row[] = [];
  for (const [name, part] of Object.entries(schema.properties ?? {})) {
    const here = `${path}.${name}`;
    rows.push({ path: here, schema: part, required: schema.required?.includes(name) ?? false });
    rows.push(...rowsOf(part, here));
    if (part.items) rows.push(...rowsOf(part.items, `${here}[]`));
  }
  return rows;
}

function typeText(schema: JsonSchema): string {
  if (schema['x-kubernetes-int-or-string']) return 'integer or string';
  if (schema.type === 'array') {
    const listType = schema['x-kubernetes-list-type'];
    const keys = schema['x-kubernetes-list-map-keys']?.join(', ');
    const kind = listType === 'map' ? `, keyed by ${keys}` : listType === 'set' ? ', each once' : '';
    return `list of ${typeText(schema.items!)}${kind}`;
  }
  if (schema.additionalProperties) return `map of ${typeText(schema.additionalProperties)}`;
  if (schema.format === 'date-time') return 'time';
  return schema.type ?? 'any';
}

function boundsText(schema: JsonSchema): string {
  const bounds: string[] = [];
  if (schema.enum) bounds.push(schema.enum.map((value) => `\`${String(value) || '""'}\``).join(', '));
  if (schema.minimum !== undefined || schema.maximum !== undefined)
    bounds.push(`${schema.minimum ?? ''} to ${schema.maximum ?? ''}`.trim());
  if (schema.maxItems !== undefined) bounds.push(`${schema.minItems ?? 0} to ${schema.maxItems} items`);
  if (schema.maxProperties !== undefined && !schema.properties)
    bounds.push(`up to ${schema.maxProperties} keys`);
  if (schema.maxLength !== undefined && !schema.enum) bounds.push(`up to ${schema.maxLength} characters`);
  if (schema.pattern && schema.pattern.length < 60)
    bounds.push(`\`${schema.pattern.replaceAll('|', '\\|')}\``);
  return bounds.join('; ');
}

function defaultText(schema: JsonSchema): string {
  if (schema.default === undefined || typeof schema.default === 'object') return '';
  return ` Default: \`${JSON.stringify(schema.default).replaceAll('"', '')}\`.`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ path, schema, required }) => {
    const bounds = boundsText(schema);
    const name = `\`${path}\`${required ? ' (required)' : ''}`;
    return `| ${name} | ${typeText(schema)} | ${cell(schema.description ?? '')}${defaultText(schema)} | ${bounds} |`;
  });
  return ['| field | type | meaning | bounds |', '| --- | --- | --- | --- |', ...lines, ''].join('\n');
}

function rulesOf(schema: JsonSchema, path: string): { path: string; rule: CelRule }[] {
  const own = (schema['x-kubernetes-validations'] ?? []).map((rule) => ({
    path: `${path}${rule.fieldPath ?? ''}`.replace(/^\./, ''),
    rule,
  }));
  const parts = Object.entries(schema.properties ?? {}).flatMap(([name, part]) =>
    rulesOf(part, `${path}.${name}`),
  );
  return [...own, ...parts, ...(schema.items ? rulesOf(schema.items, `${path}[]`) : [])];
}

function kindPage(definition: Definition): string {
  const { kind, schema } = definition;
  const types: readonly string[] = conditionTypes[kind as keyof typeof conditionTypes];
  const spec = schema.properties!.spec!;
  const status = schema.properties!.status!;
  const rules = rulesOf(schema, '').map(
    ({ path, rule }) => `| \`${path}\` | ${cell(rule.message ?? rule.rule)} |`,
  );
  const columns = definition.columns.map(
    (column) =>
      `| ${column.name} | ${cell(column.description ?? '')} | \`${cell(column.jsonPath)}\` | ${column.priority ? 'wide' : 'always'} |`,
  );
  return `${notice}
# ${kind}

${schema.description ?? ''}

\`${definition.group}/${definition.version}\`, ${definition.scope === 'Cluster' ? 'cluster-scoped' : 'namespaced'};
\`${definition.plural}\`, short \`${definition.shortNames.join('`, `')}\`. Conditions: ${types.join(', ')} ([reasons](conditions.md)).

## Spec

${table(rowsOf(spec, 'spec'))}
## Rules

| field | rule |
| --- | --- |
${rules.join('\n')}

## Status

${table(rowsOf(status, 'status'))}
## Printed columns

| column | meaning | from | shown |
| --- | --- | --- | --- |
${columns.join('\n')}
`;
}

function conditionsPage(): string {
  const types = Object.entries(conditionTypes).map(([kind, names]) => `| ${kind} | ${names.join(', ')} |`);
  const lines = Object.entries(reasons).map(([reason, text]) => `| ${reason} | ${cell(text)} |`);
  return `${notice}
# Conditions and reasons

| kind | conditions |
| --- | --- |
${types.join('\n')}

| reason | what to do |
| --- | --- |
${lines.join('\n')}
`;
}

function namesPage(): string {
  const part = (title: string, names: Record<string, Name>) => {
    const lines = Object.values(names).map(
      (entry) =>
        `| \`${entry.name}\` | ${entry.on} | ${entry.writer} | ${entry.reader} | ${cell(entry.meaning)} |`,
    );
    return `## ${title}\n\n| name | on | written by | read by | meaning |\n| --- | --- | --- | --- | --- |\n${lines.join('\n')}\n`;
  };
  return `${notice}
# Labels, annotations, finalizers

${part('Labels', labels)}
${part('Annotations', annotations)}
${part('Finalizers', finalizers)}`;
}

export function generateReference(definitions: readonly Definition[]): Map<string, string> {
  const pages = new Map(definitions.map((definition) => [`${definition.singular}.md`, kindPage(definition)]));
  pages.set('conditions.md', conditionsPage());
  pages.set('names.md', namesPage());
  const list = definitions.map(
    (definition) =>
      `- [${definition.kind}](${definition.singular}.md): ${definition.schema.description ?? ''}`,
  );
  const index = [
    ...list,
    '- [Conditions and reasons](conditions.md)',
    '- [Labels, annotations, finalizers](names.md)',
    '- [Metrics](metrics.md)',
  ];
  pages.set('README.md', `${notice}\n# Reference of muster.dev/v1alpha1\n\n${index.join('\n')}\n`);
  return pages;
}
