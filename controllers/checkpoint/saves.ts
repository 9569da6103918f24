/**
 * What of checkpoints other controllers look at: the objects by name, where their images are, and which of them ends its group. From
 * what is in memory.
 */
import { isTrue } from '../../crds/conditions.ts';
import { labels } from '../../crds/names.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import type { Hub } from '../hub/hub.ts';
import { keyOf, type Key } from '../runtime/reconciler.ts';
import { manifestDigestOf, placedImages, type PlacedImage } from './copies.ts';
import { cutStateOf } from './seen.ts';

export interface SavesPorts {
  readonly checkpoints: ReadonlyMap<Key, Checkpoint>;
  /** Of groups of this name, of now or before. */
  readonly ofGroup: (group: ProcessGroup) => Iterable<Checkpoint>;
  readonly hub: () => Pick<Hub, 'facts' | 'nodes'>;
}

export class Saves {
  readonly #ports: SavesPorts;

  constructor(ports: SavesPorts) {
    this.#ports = ports;
  }

  named({ namespace = 'default' }: { namespace?: string }, name: string): Checkpoint | undefined {
    return this.#ports.checkpoints.get(keyOf({ metadata: { namespace, name } }));
  }

  /** The one that a user asked for and that ends the group, once all is saved. */
  stopOf(group: ProcessGroup): Checkpoint | undefined {
    for (const checkpoint of this.#ports.ofGroup(group)) {
      const { spec, status } = checkpoint;
      if (spec.then !== 'Stop' || status?.processGroupUid !== group.metadata.uid) continue;
      if (isPolicys(checkpoint) || checkpoint.metadata.deletionTimestamp !== undefined) continue;
      if (cutStateOf({ checkpoint }) === 'Ready') return checkpoint;
    }
    return undefined;
  }

  /** The one of the latest cut that can be restored. */
  latestOf(group: ProcessGroup): Checkpoint | undefined {
    return this.#restorableOf(group).at(-1);
  }

  /** The same, of those whose images are all on nodes that are there. */
  fallbackOf(group: ProcessGroup): Checkpoint | undefined {
    return this.#restorableOf(group).findLast((checkpoint) =>
      this.imagesOf(checkpoint)?.every(({ connected }) => connected > 0),
    );
  }

  #restorableOf(group: ProcessGroup): Checkpoint[] {
    const { uid } = group.metadata;
    const cutOf = ({ status }: Checkpoint): string => status?.cutTime ?? '';
    return [...this.#ports.ofGroup(group)]
      .filter((checkpoint) => checkpoint.status?.processGroupUid === uid && isRestorable(checkpoint))
      .sort((a, b) => cutOf(a).localeCompare(cutOf(b)));
  }

  /** Those that the group's own policy made, oldest first. */
  madeFor(group: ProcessGroup): Checkpoint[] {
    const { uid } = group.metadata;
    return [...this.#ports.ofGroup(group)]
      .filter((checkpoint) => isPolicys(checkpoint))
      .filter(({ metadata }) => metadata.labels?.[labels.groupUid.name] === uid)
      .sort((a, b) => placeOf(a).localeCompare(placeOf(b)));
  }

  /** Where every image of it is; undefined while some image is nowhere, or they are not those that were saved. */
  imagesOf(checkpoint: Checkpoint): readonly PlacedImage[] | undefined {
    const { facts, nodes } = this.#ports.hub();
    const held = facts.imagesOf(checkpoint.metadata.uid ?? '');
    const images = placedImages(
      held.map(({ node, image }) => ({ node, image, standing: nodes.standing(node) })),
    );
    return manifestDigestOf(images) === checkpoint.status?.manifestDigest ? images : undefined;
  }
}

const isPolicys = ({ metadata }: Checkpoint): boolean => metadata.labels?.[labels.madeBy.name] === 'Policy';

const placeOf = ({ metadata }: Checkpoint): string => `${metadata.creationTimestamp ?? ''} ${metadata.name}`;

export const isRestorable = (checkpoint: Checkpoint): boolean =>
  isTrue(checkpoint.status?.conditions, 'Ready') && checkpoint.metadata.deletionTimestamp === undefined;
