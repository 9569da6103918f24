/**
 * What stands in the way of uninstalling, from what the cluster says: groups that run, sandboxes that are left, finalizers of ours that
 * nobody would remove any more. Pure; what is done about it is the command's.
 */
import { conditionOf, isTrue } from '../crds/conditions.ts';
import { group as apiGroup, type KubernetesObject } from '../crds/objects.ts';
import type { NodeMonitor, ProcessGroup } from '../crds/types.gen.ts';

export const uninstallPolicies = ['Refuse', 'Kill', 'Checkpoint'] as const;
export type UninstallPolicy = (typeof uninstallPolicies)[number];

export function hasEnded({ status }: ProcessGroup): boolean {
  return isTrue(status?.conditions, 'Succeeded') || isTrue(status?.conditions, 'Failed');
}

/** It has, or is about to have, processes somewhere. What was never placed or has given its nodes back can wait for ever. */
export function isRunning(group: ProcessGroup): boolean {
  if (hasEnded(group)) return false;
  const suspended = conditionOf(group.status?.conditions, 'Suspended');
  if (suspended?.status === 'True' && suspended.reason === 'Vacated') return false;
  return group.status?.placement !== undefined;
}

export interface Left {
  readonly groups: readonly string[];
  /** Nodes whose agent is there and has sandboxes. */
  readonly nodes: readonly string[];
  /** Nodes that had sandboxes when their agent was last heard of. */
  readonly silent: readonly string[];
}

export function whatIsLeft(groups: readonly ProcessGroup[], monitors: readonly NodeMonitor[]): Left {
  const holding = monitors.filter(({ status }) => (status?.sandboxes?.count ?? 0) > 0);
  const ready = ({ status }: NodeMonitor): boolean => isTrue(status?.conditions, 'Ready');
  const counted = (monitor: NodeMonitor): string =>
    `${monitor.metadata.name} (${monitor.status?.sandboxes?.count ?? 0})`;
  return {
    groups: groups.filter(isRunning).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
    nodes: holding.filter(ready).map(counted),
    silent: holding.filter((monitor) => !ready(monitor)).map(counted),
  };
}

export const isNothing = ({ groups, nodes, silent }: Left): boolean =>
  groups.length + nodes.length + silent.length === 0;

const mostNamed = 10;
export function named(names: readonly string[]): string {
  const more = names.length - mostNamed;
  return more > 0 ? `${names.slice(0, mostNamed).join(', ')} and ${more} more` : names.join(', ');
}

export function textOfLeft({ groups, nodes, silent }: Left): string {
  return [
    groups.length > 0 ? `groups that run: ${named(groups)}` : '',
    nodes.length > 0 ? `nodes with sandboxes: ${named(nodes)}` : '',
    silent.length > 0 ? `nodes that had sandboxes and whose agents are silent: ${named(silent)}` : '',
  ]
    .filter((text) => text !== '')
    .join('; ');
}

/** The finalizers without ours; undefined when there is none of ours. */
export function withoutOurs({ metadata }: KubernetesObject): string[] | undefined {
  const all = metadata.finalizers ?? [];
  const others = all.filter((name) => !name.startsWith(`${apiGroup}/`));
  return others.length === all.length ? undefined : others;
}
