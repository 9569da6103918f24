/** `muster apply -f`: creates or updates the objects of manifests, as kubectl's client-side apply, errors with file and line. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { lastAppliedAnnotation, mergePatchOf } from '../three-way-merge.ts';
import { parseManifests } from '../../crds/manifest.ts';
import { isStoreError, type AnyObject } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';

interface Source {
  readonly file: string;
  readonly text: string;
}

export async function apply(
  config: Config,
  _args: string[],
  options: { filename: string; dryRun?: boolean },
): Promise<number> {
  const client = connect(config.server);
  let failed = 0;
  let found = 0;
  for (const { file, text } of sourcesOf(options.filename)) {
    const parsed = parseManifests(text, file);
    for (const error of parsed.errors) {
      process.stderr.write(`${error.file}:${error.line}: ${error.message}\n`);
      failed++;
    }
    if (parsed.errors.length > 0) continue;
    for (const manifest of parsed.objects) {
      found++;
      const object = manifest.object as AnyObject;
      const label = `${String(object.kind ?? '?').toLowerCase()}/${object.metadata?.name ?? '?'}`;
      try {
        const missing = missingOf(object);
        if (missing !== undefined)
          throw new CommandError(
            `${missing} is missing; every object says apiVersion, kind and metadata.name`,
          );
        const [type] = client.typesOf(String(object.kind));
        if (type === undefined) throw new CommandError(`unknown kind ${String(object.kind)}`);
        const namespace = type.namespaced ? (object.metadata.namespace ?? config.namespace) : undefined;
        const wanted: AnyObject = {
          ...object,
          metadata: { ...object.metadata, ...(namespace === undefined ? {} : { namespace }) },
        };
        if (type === builtinTypes.secret) delete wanted.metadata.annotations?.[lastAppliedAnnotation];
        const how = await applyOne(client, type, wanted, options.dryRun === true);
        process.stdout.write(`${label} ${how}${options.dryRun === true ? ' (dry run)' : ''}\n`);
      } catch (error) {
        failed++;
        const said = error instanceof Error ? error.message : String(error);
        const causes = isStoreError(error) ? (error.details.causes ?? []) : [];
        const lines = causes.map(({ field, message }) => ({
          line: manifest.lineOf(field),
          text: `${field}: ${message}`,
        }));
        if (lines.length === 0) lines.push({ line: manifest.line, text: said });
        for (const { line, text } of lines) process.stderr.write(`${file}:${line}: ${label}: ${text}\n`);
      }
    }
  }
  if (found === 0 && failed === 0) throw new CommandError(`${options.filename} holds no object`);
  return failed === 0 ? 0 : 1;
}

/** What stands between an object and being looked up at all. */
function missingOf(object: { apiVersion?: unknown; kind?: unknown; metadata?: unknown }): string | undefined {
  if (typeof object.kind !== 'string') return 'kind';
  if (typeof object.apiVersion !== 'string') return 'apiVersion';
  const { name } = (object.metadata ?? {}) as { name?: unknown };
  return typeof name === 'string' && name !== '' ? undefined : 'metadata.name';
}

async function applyOne(
  client: ReturnType<typeof connect>,
  type: Parameters<typeof client.store.get>[0],
  wanted: AnyObject,
  dryRun: boolean,
): Promise<'created' | 'configured' | 'unchanged'> {
  const lastApplied = JSON.stringify(wanted);
  const key = { namespace: wanted.metadata.namespace, name: wanted.metadata.name ?? '' };
  const annotated: AnyObject = {
    ...wanted,
    metadata: {
      ...wanted.metadata,
      annotations: { ...wanted.metadata.annotations, [lastAppliedAnnotation]: lastApplied },
    },
  };
  const current = await client.store.get(type, key).catch((error: unknown) => {
    if (isStoreError(error, 'NotFound')) return undefined;
    throw error;
  });
  if (!current) {
    if (!dryRun) await client.store.create(type, annotated);
    return 'created';
  }
  const before = current.metadata.annotations?.[lastAppliedAnnotation];
  const last: unknown = before === undefined ? {} : JSON.parse(before);
  if (!mergePatchOf(last, wanted, current)) return 'unchanged';
  const patch = mergePatchOf(last, annotated, current);
  if (!dryRun) await client.store.patch(type, key, { type: 'merge', patch });
  return 'configured';
}

export function sourcesOf(path: string): Source[] {
  if (path === '-') return [{ file: 'stdin', text: readFileSync(0, 'utf8') }];
  let directory: boolean;
  try {
    directory = statSync(path).isDirectory();
  } catch (cause) {
    throw new CommandError(`cannot read ${path}`, 1, { cause });
  }
  const files = directory
    ? readdirSync(path)
        .filter((name) => /\.(ya?ml|json)$/.test(name))
        .sort()
        .map((name) => join(path, name))
    : [path];
  if (files.length === 0) throw new CommandError(`no .yaml, .yml or .json file in ${path}`);
  return files.map((file) => {
    const { size } = statSync(file);
    if (size > 4 * 1024 * 1024)
      throw new CommandError(`${file} has ${size} bytes: a manifest has at most 4 MiB`);
    return { file, text: readFileSync(file, 'utf8') };
  });
}
