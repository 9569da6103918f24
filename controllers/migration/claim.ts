/**
 * What a Migration writes into its group's status: that it is at work on it, that its ranks are elsewhere now, that it is not any more.
 * Pure; each is written by compare-and-set, with the version of the group that was seen.
 */
import type { Migration, ProcessGroupStatus } from '../../crds/types.gen.ts';
import { compressPlacement } from '../placement/placement-status.ts';
import type { Key } from '../runtime/reconciler.ts';
import { isThere } from './advance.ts';
import { isMoveDone, moveStateOf, type MigrationSeen } from './seen.ts';

/** Nobody else has it, and the sandboxes are still where they are to leave. */
export function isClaimable(seen: MigrationSeen, migrations: ReadonlyMap<Key, Migration>): boolean {
  const { migration, group, movers } = seen;
  const held = group?.status?.migration;
  if (!group || movers.length === 0) return false;
  if (held && held.uid !== migration.metadata.uid) {
    const other = [...migrations.values()].find(({ metadata }) => metadata.uid === held.uid);
    if (held.pages !== undefined || (other && !isMoveDone(moveStateOf({ migration: other })))) return false;
  }
  return isThere(seen);
}

export function claimed({ migration, group }: MigrationSeen): ProcessGroupStatus {
  const { name, uid } = migration.metadata;
  return { ...group?.status, migration: { name: name ?? '', uid: uid ?? '' } };
}

export function released({ group }: MigrationSeen): ProcessGroupStatus {
  const { migration: _migration, ...others } = group?.status ?? {};
  return others;
}

/** The one write by which the ranks are elsewhere. Where pages follow, the claim stays until they are there, and says where they are. */
export function committed(seen: MigrationSeen): ProcessGroupStatus {
  if (!seen.isClaimed) throw new Error('MUSTER_BUG: a migration without a claim does not commit');
  const moved = new Map(seen.movers.map(({ move }) => [move.ordinal, move]));
  const placement = seen.placement.map((each) => {
    const move = moved.get(each.ordinal);
    return move ? { ...each, node: move.to, incarnation: move.incarnation } : each;
  });
  const nodes = new Set(placement.map(({ node }) => node));
  const others = seen.migration.status?.strategy === 'PostCopy' ? following(seen) : released(seen);
  return { ...others, placement: compressPlacement(placement), nodeCount: nodes.size };
}

function following({ group, movers }: MigrationSeen): ProcessGroupStatus {
  const { name = '', uid = '' } = group?.status?.migration ?? {};
  const pages = movers.map(({ move: { ordinal, from } }) => ({ ordinal, node: from }));
  return { ...group?.status, migration: { name, uid, pages } };
}
