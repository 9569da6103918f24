/**
 * Who is on which node, as far as a drain asks: groups by what is on record, sandboxes by the word of the node's agent, and the
 * Migrations there are, and images that are nowhere else. It looks at what is in memory and decides nothing; and it tells whose changes are worth a look.
 */
import { keepersOf } from '../checkpoint/observe.ts';
import { isRestorable } from '../checkpoint/saves.ts';
import type { Checkpoint, Migration, ProcessGroup } from '../../crds/types.gen.ts';
import type { Hub } from '../hub/hub.ts';
import { assignmentsOf } from '../process-group/observe.ts';
import { wholeGroup } from '../process-group/restore.ts';
import type { Key } from '../runtime/reconciler.ts';

export interface TenantsPorts {
  readonly groups: ReadonlyMap<Key, ProcessGroup>;
  readonly migrationObjects: ReadonlyMap<Key, Migration>;
  readonly checkpoints: ReadonlyMap<Key, Checkpoint>;
  readonly hub: () => Pick<Hub, 'facts' | 'nodes'>;
  readonly isDrained: (node: string) => boolean;
  readonly look: (node: string) => void;
}

export class Tenants {
  readonly #ports: TenantsPorts;
  readonly #watched = new Set<string>();
  #known = false;

  constructor(ports: TenantsPorts) {
    this.#ports = ports;
  }

  /** False while it is not known which groups there are: an empty node may only seem so. */
  get isKnown(): boolean {
    return this.#known;
  }

  known(): void {
    this.#known = true;
  }

  /** The node waits to be empty. */
  watch(node: string, is: boolean): void {
    if (is) this.#watched.add(node);
    else this.#watched.delete(node);
  }

  /** A group, before and after, has changed: nodes that wait to be empty and that it is on, or was. */
  changed(...groups: readonly (ProcessGroup | undefined)[]): void {
    if (this.#watched.size === 0) return;
    const nodes = groups.flatMap((group) => (group ? assignmentsOf(group).map(({ node }) => node) : []));
    for (const node of new Set(nodes)) if (this.#watched.has(node)) this.#ports.look(node);
  }

  /** Something that no node is named by: Migrations, images. */
  lookAll(): void {
    for (const node of this.#watched) this.#ports.look(node);
  }

  migrations(): Migration[] {
    return [...this.#ports.migrationObjects.values()];
  }

  groupsOn(node: string): ProcessGroup[] {
    return [...this.#ports.groups.values()]
      .filter(
        (group) =>
          group.status?.finishTime === undefined && assignmentsOf(group).some((each) => each.node === node),
      )
      .map((group) => wholeGroup(group, this.#ports.checkpoints));
  }

  straysOn(node: string): number {
    const { facts, nodes } = this.#ports.hub();
    if (nodes.standing(node) !== 'Connected') return 0;
    const uids = new Set(this.groupsOn(node).map(({ metadata }) => metadata.uid));
    const live = [...facts.heldOn(node)].filter(({ state }) => state !== 'Ended' && state !== 'Failed');
    return live.filter(({ id }) => !uids.has(id.groupUid)).length;
  }
  hasKeeper(): boolean {
    return keepersOf(this.#ports.hub()).some((node) => !this.#ports.isDrained(node));
  }

  /** Checkpoints of which the node has an image that no other node has which is to stay, as `namespace/name`. */
  loneImagesOn(node: string): string[] {
    const { facts, nodes } = this.#ports.hub();
    const uids = new Set<string>();
    for (const { id, state, digest } of facts.imagesOn(node)) {
      if (state !== 'Kept' || uids.has(id.checkpointUid)) continue;
      const isElsewhere = facts
        .imagesOf(id.checkpointUid)
        .some(
          ({ node: other, image }) =>
            image.id.ordinal === id.ordinal &&
            image.state === 'Kept' &&
            image.digest === digest &&
            nodes.standing(other) !== 'Lost' &&
            !this.#ports.isDrained(other),
        );
      if (!isElsewhere) uids.add(id.checkpointUid);
    }
    if (uids.size === 0) return [];
    return [...this.#ports.checkpoints]
      .filter(([, checkpoint]) => uids.has(checkpoint.metadata.uid ?? '') && isRestorable(checkpoint))
      .map(([key]) => key);
  }
}
