/**
 * A group whose sandboxes could not all be brought back: while another node may be able to, it is placed again, without the nodes that
 * have failed; each is tried once. It knows neither why a node failed nor how placement decides. Pure.
 */
import type { ProcessGroup, ProcessGroupStatus } from '../../crds/types.gen.ts';
import type { Placing } from '../placement/place.ts';
import type { SandboxView } from './seen.ts';

/** A node that could not bring back a sandbox, with its own words. */
export interface RestoreFailure {
  readonly node: string;
  readonly ordinal: number;
  readonly message: string;
}

/** There are failures that are not on record yet. */
export interface Retry {
  readonly failures: readonly RestoreFailure[];
  /** Where all could go instead. */
  readonly placing: Placing;
}

const mostFailures = 64;
const longestMessage = 400;
/** Not the node's word on the image: what it says was lost along with the node, or ran and was ended. */
const otherReasons = new Set(['NodeLost', 'LeaseExpired', 'CarrierLost', 'NotStarted', 'Vacated']);

export function recordedFailures({ status }: ProcessGroup): readonly RestoreFailure[] {
  return status?.restore?.failures ?? [];
}

/** Of a group that has not run since it was to be brought back. */
export function newFailures(
  { status }: ProcessGroup,
  sandboxes: readonly SandboxView[],
): readonly RestoreFailure[] {
  if (!status?.restore || status.runningTime !== undefined) return [];
  return sandboxes.flatMap(({ node, ordinal, known }) => {
    const { state, reason = '', message = '' } = known?.fact ?? {};
    if (state !== 'Failed' || otherReasons.has(reason)) return [];
    return [{ node, ordinal, message: message.slice(0, longestMessage) }];
  });
}

export function withFailures(
  restore: NonNullable<ProcessGroupStatus['restore']>,
  failures: readonly RestoreFailure[],
): NonNullable<ProcessGroupStatus['restore']> {
  return { ...restore, failures: [...(restore.failures ?? []), ...failures].slice(-mostFailures) };
}

/** Whether it is brought back elsewhere, rather than to fail. */
export const isRetried = ({ retry }: { readonly retry?: Retry | undefined }): boolean =>
  retry?.placing.kind === 'placed';

/** "node2 could not bring back sandbox 0: ...". */
export function failureText(failures: readonly RestoreFailure[]): string {
  return failures
    .slice(0, 8)
    .map(({ node, ordinal, message }) => `${node} could not bring back sandbox ${ordinal}: ${message}`)
    .join('; ');
}
