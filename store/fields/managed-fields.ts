/**
 * Who owns which field of an object: the entries of `metadata.managedFields` as sets and back, and what one write makes of
 * them. An update takes what it changed; an apply owns what it names, conflicts with others who own it otherwise, and
 * removes what it named before and nobody else owns. Pure; the time is passed in.
 */
import type { JsonSchema } from '../../crds/definitions.ts';
import type { KubernetesObject, ManagedFieldsEntry, ObjectMeta } from '../object-store.ts';
import { StoreError } from '../store-error.ts';
import {
  difference,
  fieldStep,
  fromFieldsV1,
  intersection,
  isEmptySet,
  membersOf,
  noFields,
  placeText,
  sameSet,
  setOf,
  toFieldsV1,
  union,
  withoutBranches,
  type FieldSet,
} from './field-set.ts';
import { differencesOf, fieldSetOf, merged, withoutFields, withParents } from './typed-fields.ts';

/** Who writes: `kubectl-edit`, with which operation, through which subresource. */
export interface Manager {
  readonly name: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly subresource?: string | undefined;
  readonly time: string;
}

interface Owner {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly subresource: string | undefined;
  readonly time: string | undefined;
  readonly fields: FieldSet;
}

type Owners = ReadonlyMap<string, Owner>;

/** Nobody's: identity, and what the store itself writes. */
const unowned = (() => {
  const meta = (name: string): string[] => [fieldStep('metadata'), fieldStep(name)];
  const names = ['name', 'namespace', 'uid', 'selfLink', 'resourceVersion', 'generation', 'managedFields'];
  const times = ['creationTimestamp', 'deletionTimestamp', 'deletionGracePeriodSeconds'];
  return setOf([fieldStep('apiVersion')], [fieldStep('kind')], ...[...names, ...times].map(meta));
})();
const metadataItself = setOf([fieldStep('metadata')]);

/** What a write through this subresource leaves alone. */
function untouched(subresource: string | undefined, hasStatus: boolean): FieldSet {
  if (subresource === 'status') return setOf([fieldStep('metadata')], [fieldStep('spec')]);
  return hasStatus ? setOf([fieldStep('status')]) : noFields;
}

const identityOf = (owner: Pick<Owner, 'manager' | 'operation' | 'apiVersion' | 'subresource'>): string =>
  JSON.stringify([
    owner.manager,
    owner.operation,
    owner.operation === 'Apply' ? '' : owner.apiVersion,
    owner.subresource ?? '',
  ]);

function ownersOf(entries: unknown): Owners | undefined {
  if (!Array.isArray(entries)) return undefined;
  const owners = new Map<string, Owner>();
  for (const entry of entries as Partial<ManagedFieldsEntry>[]) {
    const fields = fromFieldsV1(entry.fieldsV1 ?? {});
    const { manager, operation, apiVersion, subresource, time } = entry;
    if (fields === undefined || (operation !== 'Apply' && operation !== 'Update')) return undefined;
    const owner = {
      manager: manager ?? '',
      operation,
      apiVersion: apiVersion ?? '',
      subresource,
      time,
      fields,
    };
    const identity = identityOf(owner);
    const same = owners.get(identity);
    owners.set(identity, same === undefined ? owner : { ...owner, fields: union(same.fields, fields) });
  }
  return owners;
}

function entriesOf(owners: Owners): ManagedFieldsEntry[] {
  const order = ({ operation, time, manager }: Owner): string => `${operation} ${time ?? ''} ${manager}`;
  return [...owners.values()]
    .filter(({ fields }) => !isEmptySet(fields))
    .sort((a, b) => (order(a) < order(b) ? -1 : 1))
    .map(({ manager, operation, apiVersion, time, subresource, fields }) => ({
      manager,
      operation,
      apiVersion,
      ...(time === undefined ? {} : { time }),
      fieldsType: 'FieldsV1',
      fieldsV1: toFieldsV1(fields),
      ...(subresource === undefined || subresource === '' ? {} : { subresource }),
    }));
}

/**
 * The owners a write starts from: what the request says of them itself (that is how clients move fields between managers;
 * one empty entry forgets them all), else the stored ones.
 */
function startingOwners(stored: ObjectMeta | undefined, asked: ObjectMeta | undefined): Owners {
  const given: unknown = asked?.managedFields;
  if (Array.isArray(given) && given.length === 1 && Object.keys(given[0] as object).length === 0)
    return new Map();
  const own = Array.isArray(given) && given.length > 0 ? ownersOf(given) : undefined;
  return own ?? ownersOf(stored?.managedFields) ?? new Map();
}

export interface WriteContext {
  readonly schema: JsonSchema | undefined;
  readonly hasStatus: boolean;
  readonly manager: Manager;
}

/** The managedFields after an update made `after` of `before`; `asked` is the metadata of the request. */
export function managersAfterUpdate(
  { schema, hasStatus, manager }: WriteContext,
  before: KubernetesObject | undefined,
  after: KubernetesObject,
  asked: ObjectMeta | undefined,
): ManagedFieldsEntry[] {
  const start = startingOwners(before?.metadata, manager.subresource === undefined ? asked : undefined);
  const { added, changed, removed } = differencesOf(schema, before ?? {}, after);
  const reset = untouched(manager.subresource, hasStatus);
  const touched = ownable(union(added, changed), reset);
  const owners = handedOver(start, identityOf(ownerOf(manager, noFields)), touched, removed);
  const identity = identityOf(ownerOf(manager, noFields));
  const own = difference(owners.get(identity)?.fields ?? noFields, removed);
  const fields = union(own, touched);
  const time =
    samePlaces(fields, start.get(identity)) && isEmptySet(touched) ? start.get(identity)?.time : manager.time;
  owners.set(identity, { ...ownerOf(manager, fields), time });
  return entriesOf(owners);
}

const samePlaces = (fields: FieldSet, owner: Owner | undefined): boolean =>
  owner !== undefined && sameSet(fields, owner.fields);

export interface Applied {
  /** The live object with the applied one merged in and what its manager gave up removed. */
  readonly object: KubernetesObject;
  readonly managedFields: ManagedFieldsEntry[];
}

/** Throws Conflict naming managers and fields, unless forced. */
export function applied(
  { schema, hasStatus, manager }: WriteContext,
  live: KubernetesObject,
  wanted: KubernetesObject,
  force: boolean,
): Applied {
  const reset = untouched(manager.subresource, hasStatus);
  const identity = identityOf(ownerOf(manager, noFields));
  const start = new Map(ownersOf(live.metadata.managedFields) ?? []);
  if (start.size === 0) {
    const all = ownable(differencesOf(schema, {}, live).added, reset);
    const before = {
      ...ownerOf(manager, all),
      manager: 'before-first-apply',
      operation: 'Update',
      time: undefined,
    } as const;
    if (!isEmptySet(all)) start.set(identityOf(before), before);
  }
  const last = start.get(identity);
  const mine = ownable(fieldSetOf(schema, wanted), reset);
  const withMine = new Map(start).set(identity, ownerOf(manager, mine));
  const everybody = [...withMine.values()].reduce((all, { fields }) => union(all, fields), noFields);
  const given = difference(withParents(schema, last?.fields ?? noFields), withParents(schema, everybody));
  const object = withoutFields(schema, merged(schema, live, wanted), given) as KubernetesObject;

  const { added, changed, removed } = differencesOf(schema, live, object);
  const touched = ownable(union(added, changed), reset);
  const conflicts = [...start]
    .filter(([other]) => other !== identity)
    .map(([, owner]) => ({ owner, fields: intersection(owner.fields, touched) }))
    .filter(({ fields }) => !isEmptySet(fields));
  if (!force && conflicts.length > 0) throw conflictError(conflicts);
  const owners = handedOver(withMine, identity, touched, removed);
  return { object, managedFields: entriesOf(owners) };
}

/** Takes what one manager changed or removed from all others. */
function handedOver(
  owners: Owners,
  identity: string,
  touched: FieldSet,
  removed: FieldSet,
): Map<string, Owner> {
  const left = new Map<string, Owner>();
  for (const [other, owner] of owners) {
    if (other === identity) left.set(other, owner);
    else {
      const fields = difference(difference(owner.fields, touched), removed);
      if (!isEmptySet(fields)) left.set(other, { ...owner, fields });
    }
  }
  return left;
}

function ownable(set: FieldSet, reset: FieldSet): FieldSet {
  return difference(withoutBranches(withoutBranches(set, unowned), reset), metadataItself);
}

function ownerOf(manager: Manager, fields: FieldSet): Owner {
  const { name, operation, apiVersion, subresource, time } = manager;
  return { manager: name, operation, apiVersion, subresource, time, fields };
}

/** Whether two lists of entries say the same, whenever they were written. */
export function sameManagers(
  a: readonly ManagedFieldsEntry[] | undefined,
  b: readonly ManagedFieldsEntry[] | undefined,
): boolean {
  const [one, other] = [ownersOf(a ?? []), ownersOf(b ?? [])];
  if (one === undefined || other === undefined || one.size !== other.size) return false;
  return [...one].every(([identity, { fields }]) => samePlaces(fields, other.get(identity)));
}

function conflictError(conflicts: readonly { owner: Owner; fields: FieldSet }[]): StoreError {
  const places = conflicts.flatMap(({ owner, fields }) =>
    [...membersOf(fields)].map((steps) => ({ manager: managerText(owner), place: placeText(steps) })),
  );
  const causes = places.map(({ manager, place }) => ({
    reason: 'FieldManagerConflict',
    message: `conflict with ${manager}`,
    field: place,
  }));
  const groups = [...Map.groupBy(places, ({ manager }) => manager)].sort(([a], [b]) => (a < b ? -1 : 1));
  const text =
    places.length === 1
      ? `Apply failed with 1 conflict: conflict with ${places[0]!.manager}: ${places[0]!.place}`
      : `Apply failed with ${places.length} conflicts: ${groups
          .map(([manager, own]) =>
            [`conflicts with ${manager}:`, ...own.map(({ place }) => `- ${place}`)].join('\n'),
          )
          .join('\n')}`;
  return new StoreError('Conflict', text, { causes });
}

function managerText({ manager, subresource, operation, apiVersion }: Owner): string {
  const through = subresource === undefined || subresource === '' ? '' : ` with subresource "${subresource}"`;
  const using = operation === 'Update' ? ` using ${apiVersion}` : '';
  return `"${manager}"${through}${using}`;
}
