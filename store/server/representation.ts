/**
 * How an answer looks: objects as they are, as the rows of a table or as their metadata alone, as the client's Accept header
 * prefers. Pure, but for the texts of objects that it keeps, so that many watches of one object cost one text.
 */
import type { KubernetesObject, WatchEvent } from '../object-store.ts';
import { apiVersionOf } from '../resource.ts';
import { StoreError } from '../store-error.ts';
import type { ServedType } from './served-type.ts';
import { tableOf, type IncludeObject } from './table.ts';

export type Form =
  | { readonly kind: 'object' }
  | { readonly kind: 'metadata' }
  | { readonly kind: 'table'; readonly include: IncludeObject };

export interface ListMeta {
  readonly resourceVersion?: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

const readable = new Set(['application/json', 'application/*', '*/*', '']);

/** The first form of the Accept header that we have; NotAcceptable when there is none. */
export function formOf(accept: string | undefined, includeObject: string | null): Form {
  for (const part of (accept ?? '').split(',')) {
    const [media = '', ...parameters] = part.split(';').map((item) => item.trim());
    if (!readable.has(media)) continue;
    const as = parameters.find((item) => item.startsWith('as='))?.slice(3);
    switch (as) {
      case undefined:
        return { kind: 'object' };
      case 'Table': {
        const include = includeObject === 'None' || includeObject === 'Object' ? includeObject : 'Metadata';
        return { kind: 'table', include };
      }
      case 'PartialObjectMetadata':
      case 'PartialObjectMetadataList':
        return { kind: 'metadata' };
    }
  }
  throw new StoreError(
    'NotAcceptable',
    'only the following media types are accepted: application/json, application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  );
}

export function listAs(
  form: Form,
  served: ServedType,
  items: readonly KubernetesObject[],
  metadata: ListMeta,
  nowMs: number,
): unknown {
  const { type } = served;
  const shown = shownAs(served, items);
  switch (form.kind) {
    case 'table':
      return tableOf(type, shown, { nowMs, include: form.include, metadata });
    case 'metadata':
      return {
        kind: 'PartialObjectMetadataList',
        apiVersion: 'meta.k8s.io/v1',
        metadata,
        items: shown.map(metadataOf),
      };
    case 'object':
      return { kind: `${type.kind}List`, apiVersion: apiVersionOf(type), metadata, items: shown };
  }
}

export function objectAs(form: Form, served: ServedType, object: KubernetesObject, nowMs: number): unknown {
  const shown = served.view?.show(object) ?? object;
  switch (form.kind) {
    case 'table': {
      const { resourceVersion = '' } = object.metadata;
      return tableOf(served.type, [shown], { nowMs, include: form.include, metadata: { resourceVersion } });
    }
    case 'metadata':
      return metadataOf(shown);
    case 'object':
      return shown;
  }
}

function shownAs({ view }: ServedType, items: readonly KubernetesObject[]): readonly KubernetesObject[] {
  return view === undefined ? items : items.map((item) => view.show(item));
}

export function metadataOf({ metadata }: KubernetesObject): KubernetesObject {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
}

/** Objects are shared and frozen, so their text is made once, however many watch. */
const texts = new WeakMap<object, string>();

/** One line of a watch; only the `first` table says what its columns are. */
export function watchLine(
  form: Form,
  served: ServedType,
  event: WatchEvent<KubernetesObject>,
  nowMs: number,
  first: boolean,
): string {
  const { type, object } = event;
  if (form.kind === 'object' && served.view === undefined) {
    let text = texts.get(object);
    if (text === undefined) {
      text = JSON.stringify(object);
      texts.set(object, text);
    }
    return `{"type":"${type}","object":${text}}\n`;
  }
  if (type === 'BOOKMARK')
    return `${JSON.stringify({ type, object: bookmarkAs(form, served, object, first) })}\n`;
  const shown = objectAs(form, served, object, nowMs);
  const line = form.kind === 'table' && !first ? { ...(shown as object), columnDefinitions: null } : shown;
  return `${JSON.stringify({ type, object: line })}\n`;
}

function bookmarkAs(form: Form, served: ServedType, object: KubernetesObject, first: boolean): unknown {
  const { metadata } = object;
  switch (form.kind) {
    case 'object':
      return { apiVersion: apiVersionOf(served.type), kind: served.type.kind, metadata };
    case 'metadata':
      return metadataOf(object);
    case 'table': {
      const { resourceVersion = '' } = metadata;
      const table = tableOf(served.type, [], {
        nowMs: 0,
        include: form.include,
        metadata: { resourceVersion },
      });
      const row = { cells: table.columnDefinitions.map(() => null), object: metadataOf(object) };
      return { ...table, columnDefinitions: first ? table.columnDefinitions : null, rows: [row] };
    }
  }
}
