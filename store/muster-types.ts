/**
 * What a store of Muster's own keeps: the four kinds of `crds/` with their printer columns, the few built-in kinds
 * that Muster uses, and the admission that goes with them. Definitions are read when first asked for.
 */
import { admit } from '../crds/admission.ts';
import { definitionOf, type Definition } from '../crds/definitions.ts';
import { group, kinds } from '../crds/objects.ts';
import { builtinKinds, completed } from './builtin-kinds.ts';
import type { ResourceType } from './resource.ts';
import type { Admit } from './transition.ts';

let known: readonly ResourceType[] | undefined;

/** All types of Muster's file store. */
export function musterTypes(): readonly ResourceType[] {
  known ??= [
    ...Object.values(kinds).map((info) => ({
      group: info.group,
      version: info.version,
      kind: info.kind,
      plural: info.plural,
      singular: info.singular,
      shortNames: info.shortNames,
      categories: ['muster'],
      namespaced: info.scope === 'Namespaced',
      ...shapeOf(definitionOf(info.kind)!),
    })),
    ...builtinKinds,
  ];
  return known;
}

function shapeOf({ schema, columns, selectableFields, scale }: Definition): Partial<ResourceType> {
  return { schema, printerColumns: columns, selectableFields, ...(scale === undefined ? {} : { scale }) };
}

/** Our kinds go through `crds/admission.ts`; the built-in ones are taken as they are. */
export const musterAdmit: Admit = (operation, object, oldObject) => {
  if (object.apiVersion?.startsWith(`${group}/`) !== true) return { object: completed(object) };
  const old = oldObject as Parameters<typeof admit>[2];
  const verdict = old === undefined ? admit(operation, object) : admit(operation, object, old);
  return verdict.errors === undefined ? { object: verdict.object } : { errors: verdict.errors };
};
