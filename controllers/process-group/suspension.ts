/**
 * The checkpoint that a suspension takes before the nodes are given back: its name, and where it stands. Pure.
 */
import { apiVersion } from '../../crds/objects.ts';
import { labels } from '../../crds/names.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import { usualCopies } from '../checkpoint/copies.ts';
import { cutStateOf } from '../checkpoint/seen.ts';
import type { Seen } from './seen.ts';

/** One for each run of the group between two suspensions. */
export function suspensionNameOf(group: ProcessGroup, incarnation: number): string {
  return `${group.metadata.name}-suspend-${incarnation}`;
}

/** `forDrain`: with a copy off the node at least. */
export function suspensionOf(group: ProcessGroup, name: string, forDrain = false): Checkpoint {
  const { namespace, name: groupName, uid = '' } = group.metadata;
  const { copies: asked, storage } = group.spec.checkpointPolicy ?? {};
  const copies = forDrain && asked !== undefined ? Math.max(asked, usualCopies) : asked;
  return {
    apiVersion,
    kind: 'Checkpoint',
    metadata: {
      ...(namespace === undefined ? {} : { namespace }),
      name,
      labels: {
        [labels.group.name]: groupName ?? '',
        [labels.groupUid.name]: uid,
        [labels.madeBy.name]: 'Policy',
      },
    },
    spec: {
      processGroupName: groupName ?? '',
      then: 'Stop',
      ...(copies === undefined ? {} : { copies }),
      ...(storage === undefined ? {} : { storage }),
    },
  };
}

export type Suspension = 'None' | 'Saving' | 'Saved' | 'Failed';

export function suspensionStateOf({ saving }: Pick<Seen, 'saving'>): Suspension {
  if (!saving) return 'None';
  const state = cutStateOf({ checkpoint: saving });
  if (state === 'Ready') return 'Saved';
  return state === 'Failed' || state === 'Aborting' ? 'Failed' : 'Saving';
}

export function suspensionFailure({ saving }: Pick<Seen, 'saving'>): string {
  const failed = saving?.status?.conditions?.find(({ type }) => type === 'Failed');
  return `${failed?.reason ?? ''}: ${failed?.message ?? ''}`;
}

/** It has been saved, and will be brought back when it is resumed. */
export const isSaved = (seen: Pick<Seen, 'saving'>): boolean => suspensionStateOf(seen) === 'Saved';
