/** What is known, sorted out for the panels of the page. Pure. */
import type { FeedAct, FeedEvent, FeedGroup, FeedItem, FeedNode, FeedSandbox } from '../wire/page-feed.ts';
import { isOver } from './timeline-plan.ts';

export interface Model {
  readonly nodes: readonly FeedNode[];
  /** Those that have not ended first, then the newest first. */
  readonly groups: readonly FeedGroup[];
  readonly sandboxes: readonly FeedSandbox[];
  readonly acts: readonly FeedAct[];
  /** The newest first. */
  readonly events: readonly FeedEvent[];
}

const natural = new Intl.Collator('en', { numeric: true });

export function modelOf(items: ReadonlyMap<string, FeedItem>): Model {
  const nodes: FeedNode[] = [];
  const groups: FeedGroup[] = [];
  const sandboxes: FeedSandbox[] = [];
  const acts: FeedAct[] = [];
  const events: FeedEvent[] = [];
  for (const item of items.values()) {
    switch (item.kind) {
      case 'node':
        nodes.push(item);
        break;
      case 'group':
        groups.push(item);
        break;
      case 'sandbox':
        sandboxes.push(item);
        break;
      case 'checkpoint':
      case 'migration':
        acts.push(item);
        break;
      case 'event':
        events.push(item);
    }
  }
  nodes.sort((a, b) => natural.compare(a.name, b.name));
  groups.sort((a, b) => Number(isOver(a.phase)) - Number(isOver(b.phase)) || b.createdMs - a.createdMs);
  events.sort((a, b) => b.atMs - a.atMs);
  acts.sort((a, b) => b.createdMs - a.createdMs);
  return { nodes, groups, sandboxes, acts, events };
}

export const keyOf = ({ namespace, name }: FeedGroup): string => `${namespace}/${name}`;

/** Every word must stand in its name, namespace, phase or command. */
export function matches(group: FeedGroup, words: string): boolean {
  const text = `${group.namespace}/${group.name} ${group.phase} ${group.command}`.toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

export interface Use {
  readonly cores: number;
  readonly memoryBytes: number;
}

export function useOf(sandboxes: readonly FeedSandbox[]): ReadonlyMap<string, Use> {
  const uses = new Map<string, Use>();
  for (const { uid, cores, memoryBytes } of sandboxes) {
    const before = uses.get(uid) ?? { cores: 0, memoryBytes: 0 };
    uses.set(uid, { cores: before.cores + cores, memoryBytes: before.memoryBytes + memoryBytes });
  }
  return uses;
}

/** From when it was made until all ranks ran for the first time; undefined: they did not yet. */
export function launchMs({ past, createdMs, runningMs }: FeedGroup): number | undefined {
  const first = past[0]?.[1];
  const running = past.find(([phase]) => phase === 'Running')?.[1];
  if (first !== undefined && running !== undefined) return running - first;
  return runningMs > 0 ? runningMs - createdMs : undefined;
}

/** How long a group has been at it, or was. */
export function lastedMs({ startedMs, createdMs, finishedMs }: FeedGroup, nowMs: number): number {
  return Math.max(0, (finishedMs || nowMs) - (startedMs || createdMs));
}
