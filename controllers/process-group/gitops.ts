/**
 * What somebody who keeps groups in a repository should be told: a tool that makes whatever is missing makes a group that removed
 * itself again, and so runs it over and over. Pure.
 */
import type { ProcessGroup } from '../../crds/types.gen.ts';
import type { EventNote } from '../runtime/event-recorder.ts';

/** Labels and annotations by which Argo CD and Flux know what is theirs. */
const marks = [
  'argocd.argoproj.io/instance',
  'argocd.argoproj.io/tracking-id',
  'kustomize.toolkit.fluxcd.io/name',
  'helm.toolkit.fluxcd.io/name',
];

/** Said on the first visit. */
export function gitOpsNotes({ metadata, spec, status }: ProcessGroup): EventNote[] {
  if (status?.conditions !== undefined || spec.ttlSecondsAfterFinished === undefined) return [];
  const mark = marks.find((name) => metadata.labels?.[name] ?? metadata.annotations?.[name]);
  if (mark === undefined) return [];
  const message = `spec.ttlSecondsAfterFinished removes the group after its end, and the tool that keeps it (${mark}) would make, and run, it again: leave the field out`;
  return [{ type: 'Warning', reason: 'RemovesItself', message }];
}
