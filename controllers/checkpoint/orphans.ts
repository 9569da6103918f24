/**
 * Images that lay on a lost node when their Checkpoint was deleted. Which Checkpoints those are stands in an annotation of the node's
 * NodeMonitor until the node is back and holds none of them: that an object is missing is never taken for a deletion.
 */
import { annotations } from '../../crds/names.ts';
import type { NodeMonitor } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { Hub } from '../hub/hub.ts';
import { nodeMonitorType } from '../resource-types.ts';

const { name: annotation } = annotations.orphanedImages;
/** Of a node that never comes back the list is not to grow for ever; what is struck out stays on its disk. */
const mostOrphans = 256;
export const lookAgainMs = 1000;

export function orphansOf({ metadata }: Pick<NodeMonitor, 'metadata'>): string[] {
  return (metadata.annotations?.[annotation] ?? '').split(' ').filter((uid) => uid !== '');
}

export function withOrphan(orphans: readonly string[], uid: string): string[] {
  return [...orphans.filter((other) => other !== uid), uid].slice(-mostOrphans);
}

/** Put on record before the Checkpoint goes. A node without a NodeMonitor does not come back. */
export async function keepOrphans(
  store: ObjectStore,
  node: string,
  checkpointUid: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    const monitor = await store.get<NodeMonitor>(nodeMonitorType, { name: node }, signal);
    const orphans = orphansOf(monitor);
    if (orphans.includes(checkpointUid)) return;
    await write(store, monitor, withOrphan(orphans, checkpointUid), signal);
  } catch (error) {
    if (!isStoreError(error, 'NotFound')) throw error;
  }
}

/** Has what is left of them removed from a node that is there; how long until the next look, undefined when none is needed. */
export async function removeOrphans(
  { store, hub }: { readonly store: ObjectStore; readonly hub: Pick<Hub, 'facts' | 'nodes' | 'desired'> },
  monitor: NodeMonitor,
  signal: AbortSignal,
): Promise<number | undefined> {
  const orphans = orphansOf(monitor);
  const { name = '' } = monitor.metadata;
  if (orphans.length === 0 || hub.nodes.standing(name) !== 'Connected') return undefined;
  const held = [...hub.facts.imagesOn(name)].filter(({ id }) => orphans.includes(id.checkpointUid));
  for (const { id } of held) hub.desired.wantImage(name, { id, want: 'Gone', digest: '', from: [] });
  const still = new Set(held.map(({ id }) => id.checkpointUid));
  const left = orphans.filter((uid) => still.has(uid));
  if (left.length < orphans.length) {
    await write(store, monitor, left, signal);
    for (const uid of orphans) if (!still.has(uid)) hub.desired.forgetImages(uid);
  }
  return left.length === 0 ? undefined : lookAgainMs;
}

async function write(
  store: ObjectStore,
  { metadata }: NodeMonitor,
  orphans: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { name, resourceVersion } = metadata;
  const value = orphans.length === 0 ? null : orphans.join(' ');
  const patch = { metadata: { resourceVersion, annotations: { [annotation]: value } } };
  await store.patch<NodeMonitor>(nodeMonitorType, { name }, { type: 'merge', patch }, undefined, signal);
}
