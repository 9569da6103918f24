/**
 * Decides where the sandboxes of a checkpoint go: each as it was, on the node that it was on if that can take it, else on one that has
 * its image, else where the fewest ranks a processor are. Several may share a node. Pure and deterministic.
 */
import type { ProcessGroupPlacement } from '../../crds/types.gen.ts';
import type { NodeOffer, Placing } from './place.ts';
import { unfitness } from './place.ts';
import type { Assignment } from './placement-status.ts';

export interface RestoreWish {
  /** As they were at the cut. */
  readonly sandboxes: readonly Assignment[];
  readonly placement: ProcessGroupPlacement;
  /** Nodes that have the image of a sandbox. */
  readonly imageOn: (ordinal: number) => readonly string[];
  /** Why a node that offers itself cannot take an image; undefined: it can. */
  readonly trouble: (node: string, ordinal: number) => string | undefined;
}

const mostNamed = 8;

export function placeRestored(wish: RestoreWish, offers: readonly NodeOffer[]): Placing {
  const { sandboxes, placement, imageOn, trouble } = wish;
  const load = new Map(offers.map(({ name, ranksPlaced }) => [name, ranksPlaced]));
  const named = placement.nodes && new Set(placement.nodes);
  const why = (offer: NodeOffer, ordinal: number): string | undefined =>
    named && !named.has(offer.name)
      ? 'is not named in spec.placement.nodes'
      : (unfitness(offer, placement)?.why ?? trouble(offer.name, ordinal));
  const placed: Assignment[] = [];
  for (const sandbox of sandboxes) {
    const { ordinal, rankCount } = sandbox;
    const fit = offers.filter((offer) => why(offer, ordinal) === undefined);
    const images = new Set(imageOn(ordinal));
    const costOf = ({ name, cpus }: NodeOffer): number =>
      name === sandbox.node ? -2 : images.has(name) ? -1 : (load.get(name) ?? 0) / Math.max(1, cpus);
    const best = fit.reduce<NodeOffer | undefined>(
      (found, offer) => (found && costOf(found) <= costOf(offer) ? found : offer),
      undefined,
    );
    if (!best) {
      const reasons = offers.slice(0, mostNamed).map((offer) => `${offer.name} ${why(offer, ordinal)}`);
      const listed = reasons.length === 0 ? 'there is no node' : reasons.join('; ');
      const message = `no node can take sandbox ${ordinal} (ranks ${sandbox.ranks}): ${listed}`;
      return { kind: 'waiting', reason: 'NoTarget', message };
    }
    load.set(best.name, (load.get(best.name) ?? 0) + rankCount);
    placed.push({ ...sandbox, node: best.name });
  }
  return { kind: 'placed', sandboxes: placed };
}
