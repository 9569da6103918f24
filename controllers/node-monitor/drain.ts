/**
 * What the drain of a node has come to and what is to be done for it next. Pure. A group leaves by the policy: moved by a Migration, saved
 * or suspended by its own controller (process-group/drain.ts), or ended, which no policy but Kill ever does. What cannot leave stays
 * and runs on; it is named with the reason, and tried again after pauses that grow with the age of the drain.
 */
import { conditionOf, isTrue } from '../../crds/conditions.ts';
import { labels } from '../../crds/names.ts';
import type { Migration, NodeMonitor, ProcessGroup } from '../../crds/types.gen.ts';
import { failed, hindered } from '../process-group/drain.ts';
import { endRequestOf } from '../process-group/end-request.ts';
import { leavingBy, type DrainPolicy } from './treatment.ts';

export interface DrainOfNode {
  readonly node: string;
  readonly policy: DrainPolicy;
  readonly nowMs: number;
  /** Since when the node is drained. */
  readonly sinceMs: number;
  /** With sandboxes on the node, by what is on record; those that have ended are left out. */
  readonly groups: readonly ProcessGroup[];
  /** Migrations of these groups, whoever made them. */
  readonly migrations: readonly Migration[];
  /** Sandboxes that run there and are of none of these groups. */
  readonly strays: number;
  /** Checkpoints of which some image is on no other node that is to stay. */
  readonly loneImages: readonly string[];
  /** Another node could have them. */
  readonly hasKeeper: boolean;
}

export type DrainAction =
  | { readonly kind: 'migrate'; readonly group: ProcessGroup; readonly attempt: number }
  | { readonly kind: 'end'; readonly group: ProcessGroup }
  | { readonly kind: 'deleteMigration'; readonly migration: Migration };

export interface Remainder {
  /** `namespace/name`, or what stands for it. */
  readonly name: string;
  readonly why: string;
  /** Nothing is under way for it. */
  readonly blocked: boolean;
}

export interface DrainPlan {
  readonly remains: readonly Remainder[];
  readonly actions: readonly DrainAction[];
  readonly againAfterMs?: number;
  /** Checkpoints that go with the node if it goes: nothing is done about them any more. */
  readonly lost: readonly string[];
}

/** Copies of images are waited for no longer. */
const copiedWithinMs = 10 * 60_000;
/** After a Migration has ended, until the group's own record is certain to say so. */
const seenWithinMs = 2_000;
const soonestRetryMs = 10_000;
const latestRetryMs = 10 * 60_000;
/** Finished Migrations of a drain that tell people what became of a group. */
const keptMigrations = 3;

export function drainPlanOf(seen: DrainOfNode): DrainPlan {
  const parts = seen.groups.map((group) => partOf(group, seen));
  const again = parts.flatMap(({ againAfterMs }) => againAfterMs ?? []);
  const strays: Remainder[] =
    seen.strays === 0
      ? []
      : [
          {
            name: `${seen.strays} sandboxes`,
            why: 'their groups are being ended, or are not known',
            blocked: false,
          },
        ];
  const copiesLeftMs = seen.sinceMs + copiedWithinMs - seen.nowMs;
  const isCopied = seen.hasKeeper && copiesLeftMs > 0;
  const copied = (isCopied ? seen.loneImages : []).map((name): Remainder => {
    const why = 'has images that are nowhere else; they are being copied to other nodes';
    return { name: `Checkpoint ${name}`, why, blocked: false };
  });
  if (copied.length > 0) again.push(copiesLeftMs);
  return {
    lost: isCopied ? [] : seen.loneImages,
    remains: [...parts.map(({ remains }) => remains), ...strays, ...copied],
    actions: parts.flatMap(({ actions }) => actions),
    ...(again.length === 0 ? {} : { againAfterMs: Math.max(1, Math.min(...again)) }),
  };
}

interface Part {
  readonly remains: Remainder;
  readonly actions: readonly DrainAction[];
  readonly againAfterMs?: number;
}

function partOf(group: ProcessGroup, seen: DrainOfNode): Part {
  const { namespace, name } = group.metadata;
  const wait = (why: string, blocked = false): Part => ({
    remains: { name: `${namespace}/${name}`, why, blocked },
    actions: [],
  });
  if (group.metadata.deletionTimestamp !== undefined) return wait('is being deleted');
  const running = conditionOf(group.status?.conditions, 'Running');
  if (running?.reason === 'Stopping') return wait(`is being ended: ${running.message}`);
  switch (leavingBy(group, seen.policy, couldNotMove(group, seen))) {
    case 'Kill':
      if (endRequestOf(group)) return wait('is being ended');
      return { ...wait('is to be ended'), actions: [{ kind: 'end', group }] };
    case 'Checkpoint':
    case 'Suspend': {
      const hold = group.status?.holds?.find((each) => each.name === 'Drain');
      if (!hold) return wait('is to be saved');
      return wait(
        leavingText(hold.message ?? hold.reason),
        hold.reason === failed || hold.reason === hindered,
      );
    }
    case 'Migrate':
      return migrating(group, seen, wait);
  }
}

/** Continues the name of the group; which node is drained how is said already. */
function leavingText(message: string): string {
  const text = message.replace(/^\S+ (?:is|are) being drained, policy \w+: /, '');
  return text.startsWith('the group ') ? text.slice('the group '.length) : `cannot leave: ${text}`;
}

type State = 'Unfinished' | 'Completed' | 'Failed';

function migrating(
  group: ProcessGroup,
  { migrations, node, nowMs, sinceMs }: DrainOfNode,
  wait: (why: string, blocked?: boolean) => Part,
): Part {
  const own = migrations.filter(
    (migration) => migration.metadata.labels?.[labels.groupUid.name] === group.metadata.uid,
  );
  const ofGroup = migrations.filter(
    ({ metadata, spec }) =>
      metadata.namespace === group.metadata.namespace && spec.processGroupName === group.metadata.name,
  );
  const active = ofGroup.find((migration) => stateOf(migration) === 'Unfinished');
  if (active) return wait(`is being moved by Migration ${active.metadata.name}${after(progressOf(active))}`);
  const done = own
    .filter(({ metadata }) => isOfDrain(metadata, node))
    .sort((a, b) => attemptOf(a) - attemptOf(b));
  const last = done.at(-1);
  const prune: DrainAction[] = done
    .slice(0, -keptMigrations)
    .map((migration) => ({ kind: 'deleteMigration', migration }));
  const endedMs = Date.parse(last?.status?.finishTime ?? last?.metadata.creationTimestamp ?? '');
  const dueMs = Number.isNaN(endedMs)
    ? nowMs
    : endedMs +
      (stateOf(last!) === 'Completed'
        ? seenWithinMs
        : Math.min(latestRetryMs, Math.max(soonestRetryMs, endedMs - sinceMs)));
  const failure = last && stateOf(last) === 'Failed' ? failureOf(last) : undefined;
  if (dueMs > nowMs) {
    const part =
      failure === undefined ? wait('has just been moved') : wait(`could not be moved: ${failure}`, true);
    return { ...part, actions: prune, againAfterMs: dueMs - nowMs };
  }
  const attempt = (last ? attemptOf(last) : 0) + 1;
  const part = wait(failure === undefined ? 'is to be moved' : `is to be moved again, after: ${failure}`);
  return { ...part, actions: [...prune, { kind: 'migrate', group, attempt }] };
}

/** Since the node is drained it was tried, and failed. */
export function couldNotMove(
  { metadata }: Pick<ProcessGroup, 'metadata'>,
  { migrations, node, sinceMs }: Pick<DrainOfNode, 'migrations' | 'node' | 'sinceMs'>,
): boolean {
  return migrations.some(
    (migration) =>
      migration.metadata.labels?.[labels.groupUid.name] === metadata.uid &&
      isOfDrain(migration.metadata, node) &&
      stateOf(migration) === 'Failed' &&
      Date.parse(migration.status?.finishTime ?? '') >= sinceMs,
  );
}

/** When a drain of the node began that is at work; `nowMs` where that is not on record yet. */
export function drainedSinceMs(monitor: NodeMonitor | undefined, nowMs: number): number {
  const draining = conditionOf(monitor?.status?.conditions, 'Draining');
  return draining?.status === 'True' ? Date.parse(draining.lastTransitionTime) : nowMs;
}

export function isOfDrain({ labels: own = {} }: Migration['metadata'], node: string): boolean {
  return own[labels.madeBy.name] === 'Drain' && own[labels.node.name] === labelOf(node);
}

/** Values of labels are shorter than names of nodes may be. */
export const labelOf = (node: string): string => node.slice(0, 63).replace(/[^a-z0-9]+$/, '');

export function stateOf({ status, metadata }: Migration): State {
  const { conditions } = status ?? {};
  if (isTrue(conditions, 'Completed')) return 'Completed';
  const stalled = isTrue(conditions, 'Stalled');
  if (isTrue(conditions, 'Failed') || stalled) return 'Failed';
  return metadata.deletionTimestamp !== undefined && status === undefined ? 'Failed' : 'Unfinished';
}

const attemptOf = ({ metadata }: Migration): number => Number(/-(\d+)$/.exec(metadata.name ?? '')?.[1] ?? 0);

const after = (text: string): string => (text === '' ? '' : `: ${text}`);

function progressOf({ status }: Migration): string {
  return conditionOf(status?.conditions, 'Reconciling')?.message ?? '';
}

function failureOf({ status, metadata }: Migration): string {
  const condition =
    conditionOf(status?.conditions, 'Failed')?.status === 'True'
      ? conditionOf(status?.conditions, 'Failed')
      : conditionOf(status?.conditions, 'Stalled');
  return `Migration ${metadata.name}: ${condition?.reason ?? ''}: ${condition?.message ?? ''}`;
}

/** Migrations that nobody asks for any more, of a node that is not drained, or by another policy. Those under way are aborted. */
export function calledOff(
  migrations: readonly Migration[],
  node: string,
  policy: DrainPolicy | undefined,
): Migration[] {
  if (policy === 'Migrate') return [];
  return migrations.filter(
    (migration) =>
      isOfDrain(migration.metadata, node) &&
      stateOf(migration) === 'Unfinished' &&
      migration.metadata.deletionTimestamp === undefined,
  );
}

const mostNamed = 8;

/** "default/a could not be moved: ...; default/b ...; and 3 more". */
export function remainsText(remains: readonly Remainder[]): string {
  const parts = remains.slice(0, mostNamed).map(({ name, why }) => `${name} ${why}`);
  return `${parts.join('; ')}${remains.length > mostNamed ? `; and ${remains.length - mostNamed} more` : ''}`;
}
