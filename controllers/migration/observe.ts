/**
 * Gathers a snapshot of one Migration: the group from the store itself, since who has its ranks is decided by its record, the rest from
 * what is in memory. It decides nothing.
 */
import type { Checkpoint, Migration, ProcessGroup } from '../../crds/types.gen.ts';
import type { SandboxId } from '../../wire/agent-types.ts';
import type { CarrierBook } from '../carrier/book.ts';
import { scratchOf } from '../carrier/pod.ts';
import type { CarrierView } from '../carrier/view.ts';
import type { Told } from '../../wire/migration-protocol.ts';
import { cutStateOf, isDone } from '../checkpoint/seen.ts';
import type { Hub } from '../hub/hub.ts';
import type { NodeOffer } from '../placement/place.ts';
import { assignmentsOf } from '../process-group/observe.ts';
import { wholeGroup } from '../process-group/restore.ts';
import type { Clock } from '../runtime/clock.ts';
import { type Key } from '../runtime/reconciler.ts';
import { choiceOf } from './choice.ts';
import { podOf } from './pods.ts';
import { isMoveDone, moveStateOf, type MigrationSeen, type Mover, type Side } from './seen.ts';

export interface ObservePorts {
  readonly hub: Pick<Hub, 'facts' | 'nodes'>;
  readonly clock: Clock;
  readonly checkpoints: ReadonlyMap<Key, Checkpoint>;
  readonly migrations: ReadonlyMap<Key, Migration>;
  readonly offers: (exceptUid: string) => NodeOffer[];
  /** On Kubernetes. */
  readonly carriers?: Pick<CarrierBook, 'of' | 'isKnown' | 'policy'>;
}

/** `named`: the group of that name, as the store has it now. */
export function observe(
  migration: Migration,
  named: ProcessGroup | undefined,
  ports: ObservePorts,
): MigrationSeen {
  const { hub, clock, carriers } = ports;
  const { status, metadata } = migration;
  const recorded = status?.processGroupUid;
  const group = recorded === undefined || named?.metadata.uid === recorded ? named : undefined;
  const whole = group && wholeGroup(group, ports.checkpoints);
  const placement = group ? assignmentsOf(group) : [];
  const groupUid = recorded ?? group?.metadata.uid ?? '';
  const state = moveStateOf({ migration });
  const views = carriers?.of(groupUid) ?? [];
  const movers = (status?.moves ?? []).map((move): Mover => {
    const { ordinal, from, to = '', incarnation = 0 } = move;
    const id = { groupUid, ordinal };
    const leaver = sideOf(from, { ...id, incarnation: incarnation - 1 }, migration, ports);
    const comer = sideOf(to, { ...id, incarnation }, migration, ports);
    return {
      move: { ...move, to, incarnation },
      ranks: placement[ordinal]?.ranks ?? '',
      leaver,
      comer,
      told: toldBy(leaver, comer),
      pod: ownPodOf(ordinal, incarnation, views, migration),
    };
  });
  const isCommitted =
    movers.length > 0 &&
    movers.every(({ move }) => (placement[move.ordinal]?.incarnation ?? 0) >= move.incarnation);
  return Object.freeze({
    nowMs: clock.now(),
    migration,
    group,
    placement,
    movers,
    isCarried: whole?.spec.template !== undefined,
    arePodsKnown: carriers?.isKnown === true,
    scratch: scratchOf(whole?.spec ?? {}),
    isClaimed: group?.status?.migration?.uid === metadata.uid,
    isCommitted,
    waitsFor: isMoveDone(state) ? undefined : otherOf(migration, group, ports),
    choice:
      state === 'Pending' && whole && placement.length > 0
        ? choiceOf(migration, {
            group: whole,
            placement,
            offers: ports.offers(groupUid),
            nodeOf: (node) => hub.nodes.get(node),
            isAway: (node) => hub.nodes.standing(node) === 'Away',
            pods: carriers && {
              views,
              isKnown: carriers.isKnown,
              timeoutMs: carriers.policy.timeoutMs,
              nowMs: clock.now(),
            },
            memoryOf: (ordinal) => {
              const each = placement[ordinal];
              const { incarnation = 0, node = '' } = each ?? {};
              return hub.facts.get(node, { groupUid, ordinal, incarnation })?.fact.memoryBytes ?? 0;
            },
          })
        : undefined,
  });
}

function ownPodOf(
  ordinal: number,
  incarnation: number,
  views: readonly CarrierView[],
  { metadata }: Migration,
): CarrierView | undefined {
  const pod = podOf(ordinal, incarnation, views);
  return pod?.migrationUid === metadata.uid ? pod : undefined;
}

function sideOf(node: string, id: SandboxId, { metadata }: Migration, { hub }: ObservePorts): Side {
  const fact = hub.facts.get(node, id)?.fact;
  return {
    node,
    standing: hub.nodes.standing(node),
    fact,
    move: fact?.move && fact.move.migrationUid === metadata.uid ? fact.move : undefined,
    lost: hub.facts.loss(node, id) !== undefined || hub.facts.wasForgotten(node, id),
  };
}

/** A side that is gone has given up: of who leaves it means that there is nobody who could come. */
function toldBy(leaver: Side, comer: Side): Told {
  const isOver = ({ lost, standing, fact }: Side): boolean =>
    lost || standing === 'Lost' || fact?.state === 'Ended' || fact?.state === 'Failed';
  // Ranks that came to their end need no pages any more.
  const hasEnded = comer.fact?.state === 'Ended' && comer.move?.state === 'Following';
  return {
    leaver: isOver(leaver) ? 'Gone' : (leaver.move?.state ?? (leaver.fact && 'Here')),
    comer: hasEnded ? 'Running' : isOver(comer) ? 'Gone' : comer.move?.state,
  };
}

/** In the order in which they were asked for; checkpoints that are at work go first. */
function otherOf(
  migration: Migration,
  group: ProcessGroup | undefined,
  { checkpoints, migrations }: ObservePorts,
): string | undefined {
  const { namespace, uid } = migration.metadata;
  const { processGroupName } = migration.spec;
  const held = group?.status?.migration;
  if (held && held.uid !== uid) return `Migration ${held.name}`;
  for (const checkpoint of checkpoints.values()) {
    if (checkpoint.metadata.namespace !== namespace || checkpoint.spec.processGroupName !== processGroupName)
      continue;
    const state = cutStateOf({ checkpoint });
    if (state !== 'Waiting' && !isDone(state)) return `Checkpoint ${checkpoint.metadata.name}`;
  }
  const place = ({ metadata, status }: Migration): string =>
    `${status?.startTime === undefined ? 1 : 0} ${metadata.creationTimestamp ?? ''} ${metadata.uid ?? ''}`;
  for (const other of migrations.values()) {
    if (other.metadata.uid === uid || other.metadata.namespace !== namespace) continue;
    if (other.spec.processGroupName !== processGroupName) continue;
    if (!isMoveDone(moveStateOf({ migration: other })) && place(other) < place(migration))
      return `Migration ${other.metadata.name}`;
  }
  return undefined;
}
