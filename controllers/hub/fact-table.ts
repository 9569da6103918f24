/**
 * What agents say of their sandboxes, by node. Folding is pure and replayable: a full report replaces a node's facts,
 * others change some. A sandbox that was there and is not in a full report any more is lost, unless it was let go.
 * It judges nothing; and a node's word counts only for that node, since readers ask for (node, sandbox).
 */
import type { Facts, ImageFact, ImageId, SandboxFact, SandboxId } from '../../wire/agent-types.ts';
import { imageKey, sandboxKey } from './sandbox-key.ts';

export interface KnownFact {
  readonly fact: SandboxFact;
  /** Counts up over all nodes by the order in which first failures arrived: clocks of nodes may differ. */
  readonly failureOrder: number | undefined;
}

export interface Loss {
  readonly bootIdBefore: string;
  readonly bootIdNow: string;
}

interface NodeFacts {
  readonly known: Map<string, KnownFact>;
  readonly lost: Map<string, Loss>;
  readonly forgotten: Set<string>;
  readonly images: Map<string, KnownImage>;
}

export type KnownImage = ImageFact & { readonly id: ImageId };

export interface FoldResult {
  /** Uids of groups for which there is something to look at. */
  readonly groups: ReadonlySet<string>;
  /** Uids of Checkpoints of whose images there is news. */
  readonly checkpoints: ReadonlySet<string>;
  readonly dropped: number;
}

/** An agent that reports more is broken. */
const mostSandboxes = 65_536;

export class FactTable {
  readonly #nodes = new Map<string, NodeFacts>();
  #failures = 0;

  /**
   * `owns` says whether a sandbox lies on the node: false drops the fact, undefined means not yet known. `isKept`: it is on record that its
   * group has ended, and nothing is to be looked at when it is told that it has.
   */
  fold(
    node: string,
    bootId: string,
    facts: Facts,
    owns: (id: SandboxId) => boolean | undefined,
    isKept: (id: SandboxId) => boolean = () => false,
  ): FoldResult {
    const groups = new Set<string>();
    let dropped = 0;
    const own = this.#of(node);
    const present = new Set<string>();
    for (const fact of facts.sandboxes) {
      const { id } = fact;
      if (!id || owns(id) === false || own.known.size >= mostSandboxes) {
        dropped += 1;
        continue;
      }
      const key = sandboxKey(id);
      present.add(key);
      const failed =
        fact.failures.length > 0 ||
        fact.abort !== null ||
        fact.brokenFence !== null ||
        fact.state === 'Failed';
      const failureOrder = own.known.get(key)?.failureOrder ?? (failed ? ++this.#failures : undefined);
      own.known.set(key, { fact, failureOrder });
      own.lost.delete(key);
      own.forgotten.delete(key);
      const hasEnded = fact.state === 'Ended' || fact.state === 'Failed';
      if (!hasEnded || !isKept(id)) groups.add(id.groupUid);
    }
    for (const id of facts.forgotten) {
      const key = sandboxKey(id);
      own.known.delete(key);
      if (owns(id)) own.forgotten.add(key);
      groups.add(id.groupUid);
    }
    if (facts.full) {
      for (const [key, { fact }] of own.known) {
        if (present.has(key)) continue;
        own.known.delete(key);
        own.lost.set(key, { bootIdBefore: fact.bootId, bootIdNow: bootId });
        groups.add(fact.id!.groupUid);
      }
    }
    return { groups, dropped, checkpoints: foldImages(own.images, facts) };
  }

  /** Images of a Checkpoint by the nodes that hold something of them. */
  imagesOf(checkpointUid: string): { readonly node: string; readonly image: KnownImage }[] {
    return [...this.#nodes].flatMap(([node, { images }]) =>
      [...images.values()]
        .filter(({ id }) => id.checkpointUid === checkpointUid)
        .map((image) => ({ node, image })),
    );
  }

  imagesOn(node: string): Iterable<KnownImage> {
    return this.#nodes.get(node)?.images.values() ?? [];
  }

  get(node: string, id: SandboxId): KnownFact | undefined {
    return this.#nodes.get(node)?.known.get(sandboxKey(id));
  }

  loss(node: string, id: SandboxId): Loss | undefined {
    return this.#nodes.get(node)?.lost.get(sandboxKey(id));
  }

  wasForgotten(node: string, id: SandboxId): boolean {
    return this.#nodes.get(node)?.forgotten.has(sandboxKey(id)) ?? false;
  }

  /** All that the node's agent says it holds. */
  *heldOn(node: string): Generator<SandboxFact & { readonly id: SandboxId }> {
    for (const { fact } of this.#nodes.get(node)?.known.values() ?? [])
      if (fact.id) yield fact as SandboxFact & { readonly id: SandboxId };
  }

  nodes(): Iterable<string> {
    return this.#nodes.keys();
  }

  sandboxesOn(node: string): number {
    return this.#nodes.get(node)?.known.size ?? 0;
  }

  /** Nothing of this sandbox will be asked for again. */
  drop(node: string, id: SandboxId): void {
    const own = this.#nodes.get(node);
    const key = sandboxKey(id);
    own?.known.delete(key);
    own?.lost.delete(key);
    own?.forgotten.delete(key);
  }

  #of(node: string): NodeFacts {
    let own = this.#nodes.get(node);
    if (!own)
      this.#nodes.set(
        node,
        (own = { known: new Map(), lost: new Map(), forgotten: new Set(), images: new Map() }),
      );
    return own;
  }
}

function foldImages(images: Map<string, KnownImage>, facts: Facts): ReadonlySet<string> {
  const news = new Set<string>();
  if (facts.full) {
    for (const { id } of images.values()) news.add(id.checkpointUid);
    images.clear();
  }
  for (const image of facts.images) {
    const { id } = image;
    if (!id) continue;
    news.add(id.checkpointUid);
    if (image.state === 'Gone') images.delete(imageKey(id));
    else if (images.size < mostSandboxes) images.set(imageKey(id), { ...image, id });
  }
  return news;
}
