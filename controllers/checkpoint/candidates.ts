/**
 * Which nodes could bring back what was saved on another one: the engine, the network and the processor's features decide. Pure. Room
 * on them is another matter, and changes by the minute.
 */
import type { NodeState, NodeTable } from '../hub/node-table.ts';

/** What a node's agent offers that can save and bring back sandboxes. */
export const feature = 'checkpoint';
const isolation = 'network-isolated';

/** Why a node cannot take what was saved on `source`, for people; undefined: it can. */
export function unableBecause(
  target: NodeState | undefined,
  source: NodeState | undefined,
): string | undefined {
  const hello = target?.hello;
  if (!hello?.features.includes(feature)) {
    const why = hello?.missing.find((text) => text.startsWith(`${feature}: `))?.slice(feature.length + 2);
    return `cannot bring back what was saved: ${why ?? 'update its agent'}`;
  }
  const has = new Set(hello.cpuFeatures);
  const lacks = source?.hello?.cpuFeatures.filter((name) => !has.has(name)) ?? [];
  if (lacks.length === 0) return undefined;
  return `has processors without ${lacks.slice(0, 8).join(', ')}, which the ranks may use`;
}

/** Whose ranks have saved themselves are started anew, wherever: by `status.engine` of their checkpoint. */
export const isStartedAnew = (engine: string | undefined): boolean =>
  engine?.startsWith('application') ?? false;

/** How many connected nodes could take each sandbox; of the one that the fewest could. */
export function candidatesFor(
  sandboxes: readonly { readonly node: string }[],
  { isIsolated, startedAnew }: { isIsolated: boolean; startedAnew: boolean },
  nodes: Pick<NodeTable, 'all' | 'get' | 'standing'>,
): number {
  const there = [...nodes.all()].filter(
    ({ node, hello }) =>
      nodes.standing(node) === 'Connected' && (!isIsolated || hello?.features.includes(isolation) === true),
  );
  if (startedAnew) return there.length;
  const sources = [...new Set(sandboxes.map(({ node }) => node))];
  const counts = sources.map(
    (source) => there.filter((target) => unableBecause(target, nodes.get(source)) === undefined).length,
  );
  return counts.length === 0 ? 0 : Math.min(...counts);
}
