/**
 * A user's word that a group is to end, whatever its spec says: Ctrl-C of `muster run`, `muster kill`. It stands in an
 * annotation, so once it is accepted it is carried out whoever is killed in between. It only ever grows, from End to Kill.
 */
import { annotations } from '../../crds/names.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import { processGroupType } from '../resource-types.ts';
import type { EndRequest } from './seen.ts';

const { name: annotation } = annotations.end;

export function endRequestOf({ metadata }: ProcessGroup): EndRequest | undefined {
  const word = metadata.annotations?.[annotation];
  if (word === undefined) return undefined;
  if (word === 'Drain')
    return { kill: false, reason: 'NodeDrained', message: 'a node of it is being drained, policy Kill' };
  const kill = word === 'Kill';
  return { kill, reason: 'Deleted', message: kill ? 'killed by a user' : 'ended by a user' };
}

/** All of it is saved, and whoever asked for that wants it to end then. */
export function savedRequestOf(checkpoint: Checkpoint | undefined): EndRequest | undefined {
  if (!checkpoint) return undefined;
  const message = `saved as Checkpoint ${checkpoint.metadata.name} and ended; muster restart makes a group that goes on`;
  return { kill: true, reason: 'Saved', message };
}

/** Settles once the word is on disk. A group that is gone needs none. */
export async function requestEnd(
  store: ObjectStore,
  group: ProcessGroup,
  word: 'End' | 'Kill' | 'Drain',
): Promise<void> {
  const { namespace, name, uid } = group.metadata;
  const key = { namespace, name };
  try {
    if (word !== 'Kill' && endRequestOf(await store.get<ProcessGroup>(processGroupType, key))) return;
    const patch = { metadata: { uid, annotations: { [annotation]: word } } };
    await store.patch(processGroupType, key, { type: 'merge', patch });
  } catch (error) {
    if (!isStoreError(error, 'NotFound')) throw error;
  }
}
