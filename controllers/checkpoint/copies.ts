/**
 * Where the images of a ready checkpoint are, and which nodes are to have or to drop them. Pure. An image counts where its agent
 * says that it is whole; all images together are the checkpoint's only if their digests make its manifest digest.
 */
import { createHash } from 'node:crypto';
import type { ImageWish } from '../hub/desired-book.ts';
import type { CheckpointSeen, HeldImage } from './seen.ts';

export interface PlacedImage {
  readonly ordinal: number;
  readonly digest: string;
  readonly bytes: number;
  /** Nodes that have it and are not lost; those that are connected first. */
  readonly nodes: readonly string[];
  /** Those of them that can give it now. */
  readonly connected: number;
}

/** How many nodes have each image when nobody says. */
export const usualCopies = 2;

/** One digest of all: what a restore checks before anything else. */
export function manifestDigestOf(images: readonly { ordinal: number; digest: string }[]): string {
  const lines = [...images]
    .sort((a, b) => a.ordinal - b.ordinal)
    .map(({ ordinal, digest }) => `${ordinal} ${digest}\n`);
  return `sha256:${createHash('sha256').update(lines.join('')).digest('hex')}`;
}

/** By ordinal; where agents do not agree on a digest, the one that most nodes have. */
export function placedImages(images: readonly HeldImage[]): PlacedImage[] {
  const kept = images.filter(({ image, standing }) => image.state === 'Kept' && standing !== 'Lost');
  return [...Map.groupBy(kept, ({ image }) => image.id.ordinal)]
    .map(([ordinal, all]) => {
      const groups = [...Map.groupBy(all, ({ image }) => image.digest)];
      const [digest, holders] = groups.reduce((best, each) =>
        each[1].length > best[1].length ? each : best,
      );
      const connected = holders.filter(({ standing }) => standing === 'Connected');
      const others = holders.filter(({ standing }) => standing !== 'Connected');
      return {
        ordinal,
        digest,
        bytes: holders[0]!.image.bytes,
        nodes: [...connected, ...others].map(({ node }) => node),
        connected: connected.length,
      };
    })
    .sort((a, b) => a.ordinal - b.ordinal);
}

export function copiesWanted({ checkpoint, group }: CheckpointSeen): number {
  return checkpoint.spec.copies ?? group?.spec.checkpointPolicy?.copies ?? usualCopies;
}

/** Where images are kept that are not kept on nodes. */
export function storageOf({
  checkpoint,
  group,
}: Pick<CheckpointSeen, 'checkpoint' | 'group'>): string | undefined {
  return checkpoint.status?.storage ?? checkpoint.spec.storage ?? group?.spec.checkpointPolicy?.storage;
}

/** Copies that are to be made: each image to as many nodes as it lacks, neighbours first, so that no node gets all. */
export function copyWishes(seen: CheckpointSeen): { readonly node: string; readonly wish: ImageWish }[] {
  const { keepers, checkpoint, isDrained = () => false } = seen;
  if (storageOf(seen) !== undefined) return [];
  const wanted = copiesWanted(seen);
  return placedImages(seen.images).flatMap(({ ordinal, digest, nodes, connected }) => {
    const begin = Math.max(0, keepers.indexOf(nodes[0] ?? ''));
    const free = keepers.map((_, i) => keepers[(begin + 1 + i) % keepers.length]!);
    if (connected === 0) return [];
    const lasting = nodes.filter((node) => !isDrained(node));
    const targets = free
      .filter((node) => !nodes.includes(node))
      .slice(0, Math.max(0, wanted - lasting.length));
    const id = { checkpointUid: checkpoint.metadata.uid ?? '', ordinal };
    return targets.map((node) => ({ node, wish: { id, want: 'Have' as const, digest, from: nodes } }));
  });
}

/** What is there of the images, whole or not, is to go. */
export function removalWishes({ images }: CheckpointSeen): { node: string; wish: ImageWish }[] {
  return images.map(({ node, image }) => ({
    node,
    wish: { id: image.id, want: 'Gone' as const, digest: '', from: [] },
  }));
}
