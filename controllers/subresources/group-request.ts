/**
 * What every verb on a group begins with: the right to it, the object, the ranks that are meant; and how what cannot be done is
 * answered. It knows no verb by name but for its rights.
 */
import { RankSet } from '../../crds/rank-set.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { type ObjectStore, StoreError } from '../../store/object-store.ts';
import type { RouteContext } from '../../store/server/routes.ts';
import { HubError } from '../hub/hub-error.ts';
import { processGroupType } from '../resource-types.ts';
import { runEndOf } from './exit-code.ts';
import { type GroupVerb, groupVerbs, verbsGroup } from './paths.ts';

/** Throws Forbidden naming verb and resource, NotFound, also when the group is another one than `uid` of the query names. */
export async function groupOf(
  context: RouteContext,
  store: Pick<ObjectStore, 'get'>,
  subresource: GroupVerb,
): Promise<ProcessGroup> {
  const { namespace = '', name = '' } = context.parameters;
  for (const verb of groupVerbs[subresource])
    await context.requireAccess({
      verb,
      group: verbsGroup,
      resource: 'processgroups',
      subresource,
      namespace,
      name,
    });
  const group = await store.get<ProcessGroup>(processGroupType, { namespace, name });
  const uid = context.query.get('uid');
  if (uid !== null && uid !== '' && uid !== group.metadata.uid) {
    throw new StoreError(
      'NotFound',
      `processgroup ${name} is another one now: the one that was asked for is gone`,
    );
  }
  return group;
}

/** A set of ranks that the group has; throws BadRequest. */
export function ranksOf(text: unknown, group: ProcessGroup): RankSet {
  // A group that goes on from a checkpoint has its ranks.
  const size = group.spec.size ?? group.status?.ranks?.desired ?? 0;
  const has = `processgroup ${group.metadata.name} has ranks 0 to ${size - 1}`;
  if (typeof text !== 'string')
    throw new StoreError('BadRequest', `ranks: expected a text such as "0-3,7"; ${has}`);
  let ranks: RankSet;
  try {
    ranks = RankSet.parse(text);
  } catch (cause) {
    throw new StoreError('BadRequest', `ranks: ${(cause as Error).message}; ${has}`, {}, { cause });
  }
  if (ranks.last === undefined) throw new StoreError('BadRequest', `ranks "${text}": no rank at all; ${has}`);
  if (ranks.last >= size) throw new StoreError('BadRequest', `ranks: there is no rank ${ranks.last}; ${has}`);
  return ranks;
}

/** Throws Conflict for a group whose ranks are no more. */
export function requireUnfinished(group: ProcessGroup, what: string): void {
  if (!runEndOf(group)) return;
  const ended = group.status?.conditions?.find(
    ({ type, status }) => status === 'True' && ['Succeeded', 'Failed', 'Stalled'].includes(type),
  );
  throw new StoreError(
    'Conflict',
    `processgroup ${group.metadata.name} has ended (${ended?.reason ?? 'Ended'}): ${what}`,
  );
}

/** Runs what asks the hub; what it cannot do is told as a Status, with the group's name. */
export async function throughHub<T>(group: ProcessGroup, asking: () => Promise<T> | T): Promise<T> {
  try {
    return await asking();
  } catch (error) {
    throw error instanceof HubError ? statusOf(group, error) : error;
  }
}

function statusOf(group: ProcessGroup, error: HubError): StoreError {
  const options = { cause: error };
  const { name } = group.metadata;
  switch (error.code) {
    case 'MUSTER_GROUP_NOT_PLACED':
      return new StoreError(
        'Conflict',
        `processgroup ${name} has no ranks on any node yet, or none that this is for; see muster describe pg ${name}`,
        {},
        options,
      );
    case 'MUSTER_NODE_NOT_CONNECTED':
    case 'MUSTER_VERB_TIMED_OUT':
    case 'MUSTER_STREAM_FAILED':
      return new StoreError('Unavailable', `processgroup ${name}: ${error.message}`, {}, options);
  }
}
