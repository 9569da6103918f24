/** `muster get`: objects as a table (the server's own columns), or as json, yaml or names; --watch goes on with changes. */
import { dump } from 'js-yaml';
import { connect, type Client } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { formatTable } from '../table.ts';
import type { AnyObject, ResourceType } from '../../store/object-store.ts';
import { resourceNameOf } from '../../store/resource.ts';
import type { TableRow } from '../../store/server/table.ts';

export interface GetOptions {
  output?: string;
  selector?: string;
  allNamespaces?: boolean;
  watch?: boolean;
  headers: boolean;
}

const formats = ['json', 'yaml', 'wide', 'name'];

export async function get(config: Config, args: string[], options: GetOptions): Promise<number> {
  const { output } = options;
  if (output !== undefined && !formats.includes(output)) {
    throw new CommandError(`-o ${output}: expected one of ${formats.join(', ')}`, 2);
  }
  const client = connect(config.server);
  const [words = '', ...names] = args;
  const types = words.split(',').flatMap((word) => client.typesOf(word));
  if (names.length > 0 && types.length > 1) throw new CommandError('names need exactly one kind', 2);
  let printed = 0;
  const listed: AnyObject[] = [];
  for (const type of types) {
    const namespace = type.namespaced && options.allNamespaces !== true ? config.namespace : undefined;
    if (output === undefined || output === 'wide') {
      const tables =
        names.length > 0
          ? await Promise.all(names.map((name) => client.table(type, { namespace, name }, {})))
          : [await client.table(type, { namespace }, { labelSelector: options.selector })];
      const rows = tables.flatMap((one) => one.rows);
      const table = { ...tables[0]!, rows: types.length > 1 ? rows.map((row) => prefixed(row, type)) : rows };
      if (table.rows.length === 0) continue;
      if (printed > 0) process.stdout.write('\n');
      const withNamespace = options.allNamespaces === true && type.namespaced;
      process.stdout.write(
        formatTable(table, { wide: output === 'wide', withNamespace, noHeaders: !options.headers }, config),
      );
      printed += table.rows.length;
    } else {
      const items = await objectsOf(client, type, namespace, names, options);
      if (output === 'name')
        for (const item of items) process.stdout.write(`${resourceNameOf(type)}/${item.metadata.name}\n`);
      listed.push(...items);
    }
  }
  if (output === 'json' || output === 'yaml')
    printObjects(names.length === 1 ? listed[0] : listOf(listed), output);
  if (
    printed === 0 &&
    options.watch !== true &&
    names.length === 0 &&
    (output === undefined || output === 'wide')
  ) {
    const where = options.allNamespaces === true ? '' : ` in namespace ${config.namespace}`;
    process.stderr.write(`No resources found${types.some((type) => type.namespaced) ? where : ''}.\n`);
  }
  if (options.watch === true) {
    if (types.length !== 1) throw new CommandError('--watch needs exactly one kind', 2);
    await watchTable(client, types[0]!, config, names, options);
  }
  return 0;
}

/** With several kinds in one listing, each name says its kind. */
function prefixed(row: TableRow, type: ResourceType): TableRow {
  const [name, ...rest] = row.cells;
  return { ...row, cells: [`${resourceNameOf(type)}/${String(name)}`, ...rest] };
}

async function objectsOf(
  client: Client,
  type: ResourceType,
  namespace: string | undefined,
  names: readonly string[],
  options: GetOptions,
): Promise<readonly AnyObject[]> {
  if (names.length > 0) return Promise.all(names.map((name) => client.store.get(type, { namespace, name })));
  return (await client.store.list(type, { namespace, labelSelector: options.selector })).items;
}

/** Objects of several kinds make one list too, so that whoever reads it has one document. */
const listOf = (items: readonly AnyObject[]) => ({ apiVersion: 'v1', kind: 'List', metadata: {}, items });

function printObjects(shown: unknown, output: 'json' | 'yaml'): void {
  const text =
    output === 'json' ? `${JSON.stringify(shown, null, 2)}\n` : dump(shown, { lineWidth: 120, noRefs: true });
  process.stdout.write(text);
}

async function watchTable(
  client: Client,
  type: ResourceType,
  config: Config,
  names: readonly string[],
  options: GetOptions,
): Promise<void> {
  const namespace = type.namespaced && options.allNamespaces !== true ? config.namespace : undefined;
  const { resourceVersion } = await client.store.list(type, { namespace, labelSelector: options.selector });
  const watch = client.store.watch(type, { namespace, labelSelector: options.selector, resourceVersion });
  for await (const event of watch) {
    const name = event.object.metadata.name ?? '';
    if (event.type === 'BOOKMARK' || (names.length > 0 && !names.includes(name))) continue;
    if (event.type === 'DELETED') process.stdout.write(`${name} deleted\n`);
    else if (options.output === 'json') process.stdout.write(`${JSON.stringify(event.object)}\n`);
    else {
      const key = { namespace: event.object.metadata.namespace, name };
      const table = await client.table(type, key, {}).catch(() => undefined);
      if (table) {
        process.stdout.write(
          formatTable(table, { wide: options.output === 'wide', noHeaders: true }, config),
        );
      }
    }
  }
}
