/**
 * Writing through the resource API: create, replace, patch, apply, delete. A request becomes one decision on the newest
 * state of one object, signed with its field manager; a dry run goes the same way and stops before the disk.
 */
import type { ApiStore } from '../api-store.ts';
import { appliedBy, appliedObject, createdBy, updatedBy, type Author } from '../authored-write.ts';
import { isStoreError, type AnyObject, type DeleteOptions, type KubernetesObject } from '../object-store.ts';
import { applyPatch } from '../patch.ts';
import { StoreError } from '../store-error.ts';
import { alreadyExists, errorOf, keyOf, orNotFound, type StoredObject } from '../transition.ts';
import {
  heldNamespace,
  isNamespaceType,
  refuseDeletionOfDefault,
  requireNamespace,
} from './namespace-rules.ts';
import { sendObject } from './reads.ts';
import { formOf, listAs } from './representation.ts';
import {
  deleteOptionsOf,
  objectOf,
  patchOf,
  withoutUnknown,
  writeParametersOf,
  type RequestedPatch,
  type WriteParameters,
} from './request-body.ts';
import type { RouteContext, User } from './routes.ts';
import { scaledTo, scaleOf } from './scale.ts';
import { strategicMerge } from './strategic-merge.ts';
import { keyOfTarget, selectOf, type Target } from './target.ts';

export interface WritePorts {
  readonly store: ApiStore;
  readonly now: () => number;
  /** Whether objects need a Namespace to be in. */
  readonly namespaces: boolean;
  readonly prepareCreate?: ((user: User, object: AnyObject) => AnyObject) | undefined;
}

const mostAttempts = 8;

export async function create(ports: WritePorts, target: Target, context: RouteContext): Promise<void> {
  const parameters = writeParametersOf(context);
  const shown = await objectOf(target, context, parameters);
  const object = target.served.view?.take(shown) ?? shown;
  const generated = (object.metadata.name ?? '') === '' && (object.metadata.generateName ?? '') !== '';
  await requirePlace(ports, target, object);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const born = await createOnce(ports, target, context, parameters, object);
      return sendObject(ports, target, context, 201, born);
    } catch (error) {
      if (!generated || attempt >= mostAttempts || !isStoreError(error, 'AlreadyExists')) throw error;
    }
  }
}

async function createOnce(
  ports: WritePorts,
  target: Target,
  context: RouteContext,
  parameters: WriteParameters,
  object: KubernetesObject,
): Promise<StoredObject> {
  const { type } = target;
  const birth = ports.store.birth();
  const name = (object.metadata.name ?? '') === '' ? nameOf(object, birth.suffix) : object.metadata.name;
  const named = { ...object, metadata: { ...object.metadata, ...(name === undefined ? {} : { name }) } };
  const change = await ports.store.change(
    type,
    keyOf(type, named),
    (head, { admit }) => {
      if (head !== undefined) throw alreadyExists(type, head);
      const prepared = preparedFor(ports, target, context.user, named);
      const born = createdBy(authorOf(ports, target, parameters), type, prepared, birth, admit);
      return { kind: 'put', object: born };
    },
    parameters,
  );
  return change.object;
}

const nameOf = ({ metadata: { generateName } }: KubernetesObject, suffix: string): string | undefined =>
  generateName === undefined || generateName === '' ? undefined : `${generateName.slice(0, 248)}${suffix}`;

function preparedFor(
  { prepareCreate }: WritePorts,
  { type }: Target,
  user: User,
  object: KubernetesObject,
): KubernetesObject {
  const held = heldNamespace(type, object);
  return prepareCreate?.(user, held as AnyObject) ?? held;
}

async function requirePlace(
  { store, namespaces }: WritePorts,
  { type, namespace }: Target,
  { metadata }: KubernetesObject,
): Promise<void> {
  if (!namespaces || !type.namespaced) return;
  await requireNamespace(store, type, namespace ?? metadata.namespace ?? 'default', metadata.name);
}

function authorOf({ now }: WritePorts, { subresource }: Target, { manager }: WriteParameters): Author {
  return { manager, subresource, nowMs: now() };
}

export async function update(ports: WritePorts, target: Target, context: RouteContext): Promise<void> {
  const parameters = writeParametersOf(context);
  const { type, served, subresource } = target;
  const shown = await objectOf(target, context, parameters);
  const change = await ports.store.change(
    type,
    keyOfTarget(target),
    (head, { admit }) => {
      const old = orNotFound(type, keyOfTarget(target), head);
      const object =
        subresource === 'scale' ? scaledTo(type, old, shown) : (served.view?.take(shown) ?? shown);
      return updatedBy(authorOf(ports, target, parameters), type, old, object, admit);
    },
    parameters,
  );
  sendObject(ports, target, context, 200, change.object);
}

export async function patch(ports: WritePorts, target: Target, context: RouteContext): Promise<void> {
  const parameters = writeParametersOf(context);
  const asked = await patchOf(target, context);
  if (asked.type === 'apply') return apply(ports, target, context, parameters, asked);
  const { type, served, subresource } = target;
  const { view } = served;
  // Warnings are said once, though a decision may be asked twice.
  const warned = new Set<string>();
  const warn = (message: string): void => {
    if (!warned.has(message)) context.warn(message);
    warned.add(message);
  };
  const change = await ports.store.change(
    type,
    keyOfTarget(target),
    (head, { admit }) => {
      const old = orNotFound(type, keyOfTarget(target), head);
      const before = subresource === 'scale' ? scaleOf(type, old) : (view?.show(old) ?? old);
      const patched = patchedObject(before, asked);
      const { name, namespace } = patched.metadata ?? {};
      if (name !== old.metadata.name || (namespace ?? '') !== (old.metadata.namespace ?? '')) {
        throw errorOf('BadRequest', type, old.metadata.name, 'a patch may not change name or namespace');
      }
      const author = authorOf(ports, target, parameters);
      if (subresource === 'scale') return updatedBy(author, type, old, scaledTo(type, old, patched), admit);
      const known = withoutUnknown(target, patched, { warn }, parameters);
      return updatedBy(author, type, old, view?.take(known) ?? known, admit);
    },
    parameters,
  );
  sendObject(ports, target, context, 200, change.object);
}

function patchedObject(
  before: KubernetesObject,
  asked: Exclude<RequestedPatch, { type: 'apply' }>,
): KubernetesObject {
  switch (asked.type) {
    case 'strategic':
      return strategicMerge(before, asked.patch) as KubernetesObject;
    case 'merge':
      if (typeof asked.patch !== 'object' || asked.patch === null || Array.isArray(asked.patch))
        throw new StoreError('BadRequest', 'A merge patch of an object is an object');
      return applyPatch(before, { type: 'merge', patch: asked.patch }) as KubernetesObject;
    case 'json':
      return applyPatch(before, asked) as KubernetesObject;
  }
}

async function apply(
  ports: WritePorts,
  target: Target,
  context: RouteContext,
  parameters: WriteParameters,
  asked: Extract<RequestedPatch, { type: 'apply' }>,
): Promise<void> {
  const { type, served, subresource } = target;
  if (subresource === 'scale')
    throw new StoreError('UnsupportedMediaType', 'a Scale cannot be applied; patch or replace it');
  const known = withoutUnknown(target, appliedObject(served.type, asked.patch), context, parameters);
  const wanted = served.view?.take(known) ?? known;
  const birth = ports.store.birth();
  let isNew = false;
  const decide = (): ReturnType<WritePorts['store']['change']> =>
    ports.store.change(
      type,
      keyOfTarget(target),
      (head, { admit }) => {
        isNew = head === undefined;
        const prepare = (object: KubernetesObject): KubernetesObject =>
          preparedFor(ports, target, context.user, object);
        const author = authorOf(ports, target, parameters);
        return appliedBy(author, type, head, wanted, { force: asked.force, birth, admit, prepare });
      },
      parameters,
    );
  // An apply of what is there needs no Namespace looked up; one that makes something does.
  const there = await ports.store.get(type, keyOfTarget(target)).catch((error: unknown) => {
    if (isStoreError(error, 'NotFound')) return undefined;
    throw error;
  });
  if (there === undefined) {
    if (subresource === undefined) await context.requireAccess({ ...accessTo(target), verb: 'create' });
    await requirePlace(ports, target, wanted);
  }
  const change = await decide();
  sendObject(ports, target, context, isNew ? 201 : 200, change.object);
}

const accessTo = ({ served: { type }, namespace, name }: Target): object => ({
  group: type.group,
  resource: type.plural,
  namespace,
  name,
});

export async function remove(ports: WritePorts, target: Target, context: RouteContext): Promise<void> {
  const { type } = target;
  const options = await deleteOptionsOf(context);
  refuseDeletionOfDefault(type, target.name!);
  const result = await deleteOne(ports, target, keyOfTarget(target), options);
  if (!result.gone) return sendObject(ports, target, context, 200, result.object);
  const details = { name: target.name, group: type.group, kind: type.plural, uid: result.uid };
  context.sendJson(200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details });
}

/** A Namespace that nobody holds yet is emptied all the same. */
async function deleteOne(
  { store }: WritePorts,
  { type }: Target,
  key: { namespace?: string | undefined; name: string },
  options: DeleteOptions,
): ReturnType<ApiStore['delete']> {
  if (isNamespaceType(type) && options.dryRun !== true) {
    const namespace = await store.get(type, key);
    if (
      namespace.metadata.deletionTimestamp === undefined &&
      (namespace.metadata.finalizers ?? []).length === 0
    )
      await store.update(type, heldNamespace(type, namespace));
  }
  return store.delete(type, key, options);
}

export async function removeAll(ports: WritePorts, target: Target, context: RouteContext): Promise<void> {
  const { type, served } = target;
  const options = await deleteOptionsOf(context);
  const form = formOf(context.request.headers.accept, context.query.get('includeObject'));
  const { items, resourceVersion } = await ports.store.list(type, selectOf(target, context.query));
  for (const { metadata } of items) refuseDeletionOfDefault(type, metadata.name!);
  await Promise.all(
    items.map(({ metadata }) =>
      deleteOne(ports, target, { namespace: metadata.namespace, name: metadata.name! }, options).catch(
        (error: unknown) => {
          if (!isStoreError(error, 'NotFound')) throw error;
        },
      ),
    ),
  );
  context.sendJson(200, listAs(form, served, items, { resourceVersion }, ports.now()));
}
