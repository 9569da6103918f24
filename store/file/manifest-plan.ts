/**
 * What a directory of manifests asks of the store: a pure comparison of the files, of what this directory made
 * before (by uid and hash of its text) and of what is there now. It deletes only what the directory made, and
 * nothing at all when that would be more than half of it.
 */
import type { KubernetesObject } from '../object-store.ts';
import { resourceNameOf, type ResourceType } from '../resource.ts';

export interface ManifestProblem {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

export interface Wanted {
  readonly id: string;
  readonly type: ResourceType;
  readonly object: KubernetesObject;
  readonly hash: string;
  readonly file: string;
  readonly line: number;
  lineOf(field: string): number;
}

/** What is remembered of an object that came from the directory. */
export interface Remembered {
  readonly uid: string;
  readonly hash: string;
  readonly file: string;
}

export interface Live {
  readonly uid: string;
  /** The file it says it was made from, by its annotation. */
  readonly madeFrom: string | undefined;
  readonly deleting: boolean;
}

export type ManifestAction =
  | { readonly kind: 'create' | 'update'; readonly wanted: Wanted }
  | { readonly kind: 'delete'; readonly id: string; readonly uid: string }
  /** Only the memory changes. */
  | { readonly kind: 'remember'; readonly id: string; readonly entry: Remembered }
  | { readonly kind: 'forget'; readonly id: string };

export interface ManifestPlan {
  readonly actions: readonly ManifestAction[];
  readonly problems: readonly ManifestProblem[];
  /** Why nothing is deleted, when something should be. */
  readonly blocked: string | undefined;
}

export interface Seen {
  /** The objects of all readable files, in order of file and line. */
  readonly wanted: readonly Wanted[];
  /** Files there are, readable or not. */
  readonly files: ReadonlySet<string>;
  /** Files whose last good state counts: broken ones, and ones still being written. */
  readonly unreadable: ReadonlySet<string>;
  readonly directoryMissing: boolean;
  readonly remembered: ReadonlyMap<string, Remembered>;
  readonly live: ReadonlyMap<string, Live>;
}

export function idOf(type: ResourceType, metadata: { namespace?: string; name?: string }): string {
  const namespace = type.namespaced ? (metadata.namespace ?? 'default') : '';
  return `${resourceNameOf(type)} ${namespace}/${metadata.name ?? ''}`;
}

export function manifestPlanOf(seen: Seen): ManifestPlan {
  const actions: ManifestAction[] = [];
  const problems: ManifestProblem[] = [];
  const wanted = new Map<string, Wanted>();
  for (const one of seen.wanted) {
    const first = wanted.get(one.id);
    if (first === undefined) wanted.set(one.id, one);
    else {
      const message = `${one.id} is already in ${first.file} line ${first.line}; that one counts`;
      problems.push({ file: one.file, line: one.line, message });
    }
  }
  for (const one of wanted.values()) {
    const step = stepFor(one, seen.remembered.get(one.id), seen.live.get(one.id));
    if (step === undefined) continue;
    if ('message' in step) problems.push(step);
    else actions.push(step);
  }
  const deletions: ManifestAction[] = [];
  for (const [id, { uid, file }] of seen.remembered) {
    if (wanted.has(id) || seen.unreadable.has(file)) continue;
    const live = seen.live.get(id);
    if (live?.uid !== uid) deletions.push({ kind: 'forget', id });
    else if (!live.deleting) deletions.push({ kind: 'delete', id, uid });
  }
  const blocked = blockedBy(seen, deletions.filter(({ kind }) => kind === 'delete').length);
  if (blocked === undefined) actions.push(...deletions);
  else if (!seen.directoryMissing && seen.files.size > 0) {
    actions.push(...deletions.filter(({ kind }) => kind === 'forget'));
  }
  return { actions, problems, blocked };
}

function stepFor(
  one: Wanted,
  known: Remembered | undefined,
  live: Live | undefined,
): ManifestAction | ManifestProblem | undefined {
  const { id, file, hash } = one;
  if (known === undefined) {
    if (live === undefined) return { kind: 'create', wanted: one };
    // Made by this directory, which was stopped before it could remember it.
    if (live.madeFrom === file) return { kind: 'update', wanted: one };
    return {
      file,
      line: one.line,
      message: `${id} exists and was not made from this directory; left as it is`,
    };
  }
  if (known.hash === hash) {
    return known.file === file ? undefined : { kind: 'remember', id, entry: { ...known, file } };
  }
  if (live === undefined) return { kind: 'create', wanted: one };
  if (live.uid !== known.uid) {
    return {
      file,
      line: one.line,
      message: `${id} was deleted and made anew by somebody else; left as it is`,
    };
  }
  return { kind: 'update', wanted: one };
}

function blockedBy(seen: Seen, deletions: number): string | undefined {
  if (deletions === 0) return undefined;
  const advice = 'delete objects by hand if that is meant';
  const what = `${deletions} of ${seen.remembered.size} objects would be deleted; nothing was`;
  if (seen.directoryMissing) return `The directory is missing: ${what}; ${advice}`;
  if (seen.files.size === 0) return `The directory holds no manifests: ${what}; ${advice}`;
  if (deletions * 2 > seen.remembered.size)
    return `More than half of what it manages is missing: ${what}; ${advice}`;
  return undefined;
}
