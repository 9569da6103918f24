/**
 * How the ranks of a group are dealt out to carrier Pods before anybody knows where those will run: the scheduler places Pods, not
 * ranks. A Pod carries one sandbox: `ranksPerSandbox` ranks, else `ranksPerNode`, else all that go to its node, which is all of them
 * where no nodes are named. Pure.
 */
import type { ProcessGroupPlacement } from '../../crds/types.gen.ts';
import { place } from '../placement/place.ts';

export interface Share {
  readonly ordinal: number;
  readonly ranks: string;
  readonly rankCount: number;
  /** The only node that will do; undefined where the scheduler chooses. */
  readonly node?: string;
  /** Nodes that cannot bring back what it is to go on from. */
  readonly avoided?: readonly string[];
  /** Nodes that have its image, the one that it was on first. */
  readonly preferred?: readonly string[];
  /** Of the Migration that it is made for. */
  readonly migrationUid?: string;
}

/** Of a group that is brought back: the sandboxes are as they were, and where named nodes still deal them out so, each has its node. */
export function restoredSharesOf(
  sandboxes: readonly (Omit<Share, 'node'> & { readonly node: string })[],
  placement: ProcessGroupPlacement,
  { offers, trouble, imageOn }: RestoreSources,
): readonly Share[] {
  const size = sandboxes.reduce((sum, { rankCount }) => sum + rankCount, 0);
  const dealt = new Map(sharesOf(size, placement).map((share) => [share.ordinal, share]));
  return sandboxes.map(({ ordinal, ranks, rankCount, node }) => {
    const same = dealt.get(ordinal);
    const named = same?.ranks === ranks ? same.node : undefined;
    const avoided = offers.filter((each) => trouble(each, ordinal) !== undefined);
    const preferred = [...new Set([node, ...imageOn(ordinal)])]
      .filter((each) => offers.includes(each) && !avoided.includes(each))
      .slice(0, mostPreferred);
    return { ordinal, ranks, rankCount, avoided, preferred, ...(named === undefined ? {} : { node: named }) };
  });
}

export interface RestoreSources {
  /** Nodes that have an agent. */
  readonly offers: readonly string[];
  /** Why one of them cannot take an image; undefined: it can. */
  readonly trouble: (node: string, ordinal: number) => string | undefined;
  readonly imageOn: (ordinal: number) => readonly string[];
}

const mostPreferred = 8;

export function sharesOf(size: number, placement: ProcessGroupPlacement): readonly Share[] {
  const { nodes, ranksPerNode, ranksPerSandbox } = placement;
  const each = ranksPerSandbox ?? ranksPerNode ?? size;
  const named = nodes !== undefined;
  const places = nodes ?? Array.from({ length: Math.ceil(size / each) }, (_, i) => String(i));
  const share = Math.ceil(size / places.length);
  const offers = [...new Set(places)].map((name) => {
    const mentions = places.filter((other) => other === name).length;
    return {
      name, ready: true, cordoned: false, labels: {}, ranksPlaced: 0, memoryBytes: Number.MAX_SAFE_INTEGER,
      cpus: named ? share * mentions : each,
    };
  }); // prettier-ignore
  const most = named ? placement.ranksPerNode : each;
  const placing = place(
    {
      size,
      placement: {
        nodes: places,
        ...(placement.policy === undefined ? {} : { policy: placement.policy }),
        ...(most === undefined ? {} : { ranksPerNode: most }),
        ...(ranksPerSandbox === undefined ? {} : { ranksPerSandbox }),
      },
    },
    offers,
  );
  if (placing.kind === 'waiting') return [];
  return placing.sandboxes.map(({ node, ...rest }) => (named ? { ...rest, node } : rest));
}
