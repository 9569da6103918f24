/** Carries out what drain.ts asks for, each action idempotent: what is there already is left as it is. */
import { createHash } from 'node:crypto';
import { apiVersion } from '../../crds/objects.ts';
import { labels } from '../../crds/names.ts';
import type { Migration, NodeMonitor } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import { requestEnd } from '../process-group/end-request.ts';
import { migrationType } from '../resource-types.ts';
import { labelOf, type DrainAction } from './drain.ts';

/** People find out for a day what became of whom. */
const keptSeconds = 24 * 3600;

export async function performDrain(
  action: DrainAction,
  monitor: NodeMonitor,
  { store }: { readonly store: ObjectStore },
  signal: AbortSignal,
): Promise<void> {
  switch (action.kind) {
    case 'end':
      return requestEnd(store, action.group, 'Drain');
    case 'migrate':
      try {
        await store.create(migrationType, migrationOf(action, monitor), signal);
      } catch (error) {
        if (!isStoreError(error, 'AlreadyExists')) throw error;
      }
      return;
    case 'deleteMigration': {
      const { namespace, name, uid } = action.migration.metadata;
      try {
        await store.delete(migrationType, { namespace, name }, { preconditions: { uid } }, signal);
      } catch (error) {
        if (!isStoreError(error, 'NotFound')) throw error;
      }
    }
  }
}

/** Named after group and node; names of groups come back, hence the digest. */
function migrationOf(
  { group, attempt }: Extract<DrainAction, { kind: 'migrate' }>,
  monitor: NodeMonitor,
): Migration {
  const { namespace, name = '', uid = '' } = group.metadata;
  const { name: node, uid: monitorUid = '' } = monitor.metadata;
  const digest = createHash('sha256').update(`${uid} ${node}`).digest('hex').slice(0, 6);
  return {
    apiVersion,
    kind: 'Migration',
    metadata: {
      ...(namespace === undefined ? {} : { namespace }),
      name: `${name}-off-${labelOf(node)}-${digest}-${attempt}`,
      labels: {
        [labels.group.name]: name,
        [labels.groupUid.name]: uid,
        [labels.node.name]: labelOf(node),
        [labels.madeBy.name]: 'Drain',
      },
      ownerReferences: [{ apiVersion, kind: 'NodeMonitor', name: node, uid: monitorUid }],
    },
    spec: { processGroupName: name, from: node, ttlSecondsAfterFinished: keptSeconds },
  };
}
