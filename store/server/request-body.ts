/**
 * What a write request carries: an object in JSON or YAML, a patch, options of a deletion; and the parameters every write
 * has (dryRun, fieldManager, fieldValidation). It refuses what cannot be read and knows nothing of what objects mean.
 */
import { parseManifests } from '../../crds/manifest.ts';
import { objectSchemaOf } from '../meta-schema.ts';
import type { DeleteOptions, JsonPatchOperation, KubernetesObject } from '../object-store.ts';
import { causeText, StoreError } from '../store-error.ts';
import { sifted } from './field-validation.ts';
import { protobufMedia } from './protobuf-body.ts';
import type { RouteContext } from './routes.ts';
import type { Target } from './target.ts';

export interface WriteParameters {
  readonly dryRun: boolean;
  readonly manager: string;
  readonly fieldValidation: 'Strict' | 'Warn' | 'Ignore';
}

export function writeParametersOf(context: RouteContext): WriteParameters {
  const { query, request, method } = context;
  const dryRun = query.getAll('dryRun').filter((value) => value !== '');
  refuseOtherDryRuns(dryRun, method);
  const manager = query.get('fieldManager') ?? '';
  if (manager.length > 128)
    throw invalidOption(method, 'fieldManager', 'FieldValueTooLong', 'may not be more than 128 bytes');
  const validation = query.get('fieldValidation') ?? '';
  const fieldValidation = validation === '' ? 'Warn' : validation;
  if (fieldValidation !== 'Strict' && fieldValidation !== 'Warn' && fieldValidation !== 'Ignore') {
    throw invalidOption(
      method,
      'fieldValidation',
      'FieldValueNotSupported',
      `"${validation}": supported values: "Ignore", "Strict", "Warn"`,
    );
  }
  // As in Kubernetes, who does not say is known by the beginning of the user agent.
  const agent = (request.headers['user-agent'] ?? 'unknown').split('/')[0]!.slice(0, 128);
  return { dryRun: dryRun.length > 0, manager: manager === '' ? agent : manager, fieldValidation };
}

function refuseOtherDryRuns(values: readonly unknown[], method: string): void {
  const other = values.find((value) => value !== 'All');
  if (other === undefined) return;
  const text = `${JSON.stringify(other)}: supported values: "All"`;
  throw invalidOption(method, 'dryRun', 'FieldValueNotSupported', text);
}

const optionKinds: Readonly<Record<string, string>> = {
  POST: 'CreateOptions',
  PUT: 'UpdateOptions',
  PATCH: 'PatchOptions',
  DELETE: 'DeleteOptions',
};

function invalidOption(method: string, field: string, reason: string, message: string): StoreError {
  const kind = optionKinds[method] ?? 'ListOptions';
  const cause = { field, reason, message };
  const text = `${kind}.meta.k8s.io "" is invalid: ${field}: ${causeText(cause)}`;
  return new StoreError('Invalid', text, { group: 'meta.k8s.io', kind, causes: [cause] });
}

const mediaTypeOf = (context: RouteContext, absent: string): string =>
  (context.request.headers['content-type'] ?? absent).split(';')[0]!.trim().toLowerCase();

/** The body as a value; JSON, or YAML where that is allowed. */
async function valueOf(context: RouteContext, yaml: boolean): Promise<unknown> {
  if (!yaml) return context.json();
  const text = (await context.body()).toString('utf8');
  try {
    // JSON first: it is what clients send under either name, and far quicker to read.
    return JSON.parse(text) as unknown;
  } catch {
    const { objects, errors } = parseManifests(text, 'body');
    const [error] = errors;
    if (error !== undefined) {
      throw new StoreError(
        'BadRequest',
        `The request body is not YAML: line ${error.line}: ${error.message}`,
      );
    }
    if (objects.length !== 1) throw new StoreError('BadRequest', 'The request body is not one object');
    return objects[0]!.object;
  }
}

/** The object of a request, which must be the one that the path names, without the fields that its kind does not have. */
export async function objectOf(
  target: Target,
  context: RouteContext,
  parameters: WriteParameters,
): Promise<KubernetesObject> {
  const media = mediaTypeOf(context, 'application/json');
  const accepted = ['application/json', 'application/yaml', protobufMedia];
  if (!accepted.includes(media)) throw unsupportedMedia(accepted);
  const body = await valueOf(context, media === 'application/yaml');
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new StoreError('BadRequest', 'The request body is not an object');
  }
  const known = withoutUnknown(target, body as KubernetesObject, context, parameters);
  return named(target, known);
}

/** Refuses, tells or drops unknown fields, as the client asked. */
export function withoutUnknown(
  target: Target,
  object: KubernetesObject,
  context: Pick<RouteContext, 'warn'>,
  { fieldValidation }: WriteParameters,
): KubernetesObject {
  const { type } = target.served;
  if (type.schema === undefined) return object;
  const { known, unknown } = sifted(objectSchemaOf(type.schema), object);
  if (unknown.length > 0 && fieldValidation === 'Strict') {
    const list = unknown.map(({ message }) => message).join(', ');
    throw new StoreError(
      'BadRequest',
      `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}: strict decoding error: ${list}`,
      { causes: unknown.map(({ field, message }) => ({ field, message, reason: 'FieldUnknown' })) },
    );
  }
  if (fieldValidation === 'Warn') for (const { message } of unknown.slice(0, 100)) context.warn(message);
  return known as KubernetesObject;
}

function named(target: Target, object: KubernetesObject): KubernetesObject {
  const metadata = object.metadata ?? {};
  for (const [field, wanted, text] of [
    ['name', target.name, 'name'],
    ['namespace', target.namespace, 'namespace'],
  ] as const) {
    const found = metadata[field];
    if (wanted !== undefined && found !== undefined && found !== '' && found !== wanted) {
      throw new StoreError(
        'BadRequest',
        `the ${text} of the provided object does not match the ${text} sent on the request: ${found} and ${wanted}`,
      );
    }
  }
  if (target.namespace === undefined && target.type.namespaced === false && metadata.namespace === '') {
    const { namespace: _, ...rest } = metadata;
    return { ...object, metadata: rest };
  }
  return {
    ...object,
    metadata: {
      ...metadata,
      ...(target.name === undefined ? {} : { name: target.name }),
      ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
    },
  };
}

export type RequestedPatch =
  | { readonly type: 'merge' | 'strategic'; readonly patch: unknown }
  | { readonly type: 'json'; readonly patch: readonly JsonPatchOperation[] }
  | { readonly type: 'apply'; readonly patch: KubernetesObject; readonly force: boolean };

export async function patchOf(target: Target, context: RouteContext): Promise<RequestedPatch> {
  const media = mediaTypeOf(context, '');
  const { query } = context;
  const force = /^(true|1)$/i.test(query.get('force') ?? '');
  if (force && media !== 'application/apply-patch+yaml') {
    throw invalidOption('PATCH', 'force', 'FieldValueForbidden', 'may not be specified for non-apply patch');
  }
  switch (media) {
    case 'application/merge-patch+json':
      return { type: 'merge', patch: await context.json() };
    case 'application/json-patch+json':
      return { type: 'json', patch: (await context.json()) as [] };
    case 'application/strategic-merge-patch+json':
      if (target.type.builtin === true) return { type: 'strategic', patch: await context.json() };
      break;
    case 'application/apply-patch+yaml': {
      if ((query.get('fieldManager') ?? '') === '') {
        throw invalidOption('PATCH', 'fieldManager', 'FieldValueRequired', 'is required for apply patch');
      }
      const patch = await valueOf(context, true);
      if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) {
        throw new StoreError('BadRequest', 'The body of an apply is not an object');
      }
      return { type: 'apply', patch: named(target, patch as KubernetesObject), force };
    }
  }
  const strategic = target.type.builtin === true ? ['application/strategic-merge-patch+json'] : [];
  const others = [
    'application/json-patch+json',
    'application/merge-patch+json',
    'application/apply-patch+yaml',
  ];
  throw unsupportedMedia([...others, ...strategic]);
}

const unsupportedMedia = (accepted: readonly string[]): StoreError =>
  new StoreError(
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  );

export async function deleteOptionsOf(context: RouteContext): Promise<DeleteOptions> {
  const { query } = context;
  const body = (await context.body()).length === 0 ? {} : await context.json();
  const asked = (body ?? {}) as {
    propagationPolicy?: string;
    orphanDependents?: boolean;
    preconditions?: DeleteOptions['preconditions'];
    dryRun?: unknown[];
  };
  const dryRun = [...(asked.dryRun ?? []), ...query.getAll('dryRun').filter((value) => value !== '')];
  refuseOtherDryRuns(dryRun, 'DELETE');
  const orphan = asked.orphanDependents ?? (query.get('orphanDependents') === 'true' ? true : undefined);
  const propagation =
    asked.propagationPolicy ?? query.get('propagationPolicy') ?? (orphan === true ? 'Orphan' : 'Background');
  if (propagation !== 'Background' && propagation !== 'Foreground' && propagation !== 'Orphan') {
    throw invalidOption(
      'DELETE',
      'propagationPolicy',
      'FieldValueNotSupported',
      `${JSON.stringify(propagation)}: supported values: "Foreground", "Background", "Orphan"`,
    );
  }
  return { propagation, preconditions: asked.preconditions, dryRun: dryRun.length > 0 };
}
