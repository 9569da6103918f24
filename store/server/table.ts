/**
 * Objects as the rows of a table: the `Table` that kubectl asks the server for, and the same as text for the
 * command line. Columns are the kind's printer columns after its name. Pure; the time is passed in.
 */
import { durationText } from '../duration.ts';
import type { KubernetesObject } from '../object-store.ts';
import type { PrinterColumn, ResourceType } from '../resource.ts';
import { parseJsonPath, valuesAt, type PathStep } from '../json-path.ts';

export interface TableColumn {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly description: string;
  readonly priority: number;
}

export interface TableRow {
  readonly cells: readonly unknown[];
  readonly object?: unknown;
}

export interface Table {
  readonly kind: 'Table';
  readonly apiVersion: 'meta.k8s.io/v1';
  readonly metadata: {
    readonly resourceVersion?: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
  };
  readonly columnDefinitions: readonly TableColumn[];
  readonly rows: readonly TableRow[];
}

export type IncludeObject = 'None' | 'Metadata' | 'Object';

export interface TableOptions {
  readonly nowMs: number;
  readonly include?: IncludeObject;
  readonly metadata?: Table['metadata'];
}

interface Column extends TableColumn {
  readonly path: readonly PathStep[];
  readonly cell?: PrinterColumn['cell'];
}

const nameColumn: Column = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: 'Name of the object; unique in its namespace',
  priority: 0,
  path: parseJsonPath('.metadata.name')!,
};
const ageColumn: PrinterColumn = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

const columnsOfType = new WeakMap<ResourceType, readonly Column[]>();

function columnsOf(type: ResourceType): readonly Column[] {
  let columns = columnsOfType.get(type);
  if (columns === undefined) {
    const own = (type.printerColumns ?? [ageColumn]).map(columnOf);
    columns = own.some(({ name }) => name === 'Name') ? own : [nameColumn, ...own];
    columnsOfType.set(type, columns);
  }
  return columns;
}

function columnOf(column: PrinterColumn): Column {
  const { name, type, format = '', priority = 0, cell } = column;
  const description =
    column.description ?? `Custom resource definition column (in JSONPath format): ${column.jsonPath}`;
  const path = parseJsonPath(column.jsonPath) ?? [];
  return { name, type, format, description, priority, path, cell };
}

export function tableOf(
  type: ResourceType,
  objects: readonly KubernetesObject[],
  options: TableOptions,
): Table {
  const columns = columnsOf(type);
  const include = options.include ?? 'Metadata';
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: options.metadata ?? {},
    columnDefinitions: columns.map(({ path: _p, cell: _c, ...definition }) => definition),
    rows: objects.map((object) => ({
      cells: columns.map((column) => cellOf(object, column, options.nowMs)),
      ...(include === 'None' ? {} : { object: include === 'Object' ? object : partialOf(object) }),
    })),
  };
}

function partialOf({ metadata }: KubernetesObject): unknown {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
}

function cellOf(object: KubernetesObject, column: Column, nowMs: number): unknown {
  if (column.cell !== undefined) return column.cell(object, nowMs);
  if (column.path.length === 0) return null;
  const values = valuesAt(object, column.path).filter((value) => value !== null && value !== undefined);
  if (values.length === 0) return null;
  switch (column.type) {
    case 'date': {
      const then = Date.parse(textOf(values[0]));
      return Number.isNaN(then) ? '<unknown>' : durationText(nowMs - then);
    }
    case 'integer':
    case 'number':
    case 'boolean':
      return typeof values[0] === 'object' ? JSON.stringify(values[0]) : values[0];
    default:
      return values.map(textOf).join(',');
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

export interface TextOptions {
  readonly wide?: boolean;
  /** Adds a column of namespaces in front. */
  readonly withNamespace?: boolean;
  readonly noHeaders?: boolean;
}

/** The table as lines of aligned text, without a last newline. Control characters become `?`. */
export function tableText(table: Table, options: TextOptions = {}): string {
  const shown = table.columnDefinitions.flatMap(({ priority }, index) =>
    priority === 0 || options.wide === true ? [index] : [],
  );
  const lines: string[][] = [];
  if (options.noHeaders !== true) {
    const heads = shown.map((index) => table.columnDefinitions[index]!.name.toUpperCase());
    lines.push(options.withNamespace ? ['NAMESPACE', ...heads] : heads);
  }
  for (const row of table.rows) {
    const cells = shown.map((index) => cellText(row.cells[index]));
    const metadata = (row.object as KubernetesObject | undefined)?.metadata;
    lines.push(options.withNamespace ? [metadata?.namespace ?? '', ...cells] : cells);
  }
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}

function cellText(cell: unknown): string {
  if (cell === null || cell === undefined) return '';
  return textOf(cell).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}
