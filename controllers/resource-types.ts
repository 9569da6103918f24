/**
 * The kinds that controllers read and write, as stores name them.
 */
import { kinds, type KindInfo } from '../crds/objects.ts';
import type { ResourceType } from '../store/resource.ts';

function typeOf(info: KindInfo): ResourceType {
  const { group, version, kind, plural, singular, shortNames, scope } = info;
  return {
    group,
    version,
    kind,
    plural,
    singular,
    shortNames,
    namespaced: scope === 'Namespaced',
    categories: ['muster'],
  };
}

export const processGroupType = typeOf(kinds.ProcessGroup);
export const checkpointType = typeOf(kinds.Checkpoint);
export const migrationType = typeOf(kinds.Migration);
export const nodeMonitorType = typeOf(kinds.NodeMonitor);
