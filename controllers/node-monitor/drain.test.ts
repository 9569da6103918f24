import { describe, expect, it } from 'vitest';
import type { Migration, ProcessGroup, ProcessGroupStatus } from '../../crds/types.gen.ts';
import { calledOff, drainPlanOf, remainsText, type DrainOfNode } from './drain.ts';

const nowMs = Date.parse('2026-01-01T01:00:00Z');
const agoOf = (seconds: number): string => new Date(nowMs - seconds * 1000).toISOString().replace('.000', '');

const groupOf = (
  status: ProcessGroupStatus = {},
  more: Partial<ProcessGroup['metadata']> = {},
): ProcessGroup => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name: 'g', namespace: 'default', uid: 'u1', ...more },
  spec: { size: 1 },
  status,
});

type End = 'Completed' | 'Failed' | 'Stalled';
const migrationOf = (
  attempt: number,
  end?: End,
  endedAgo = 5,
  labels: Record<string, string> = {},
): Migration => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'Migration',
  metadata: {
    name: `g-off-node1-abc-${attempt}`,
    namespace: 'default',
    labels: {
      'muster.dev/made-by': 'Drain',
      'muster.dev/node': 'node1',
      'muster.dev/group-uid': 'u1',
      ...labels,
    },
  },
  spec: { processGroupName: 'g', from: 'node1' },
  status: {
    conditions: [
      {
        type: end ?? 'Reconciling',
        status: 'True',
        reason: 'NoTarget',
        message: 'no room',
        lastTransitionTime: agoOf(endedAgo),
      },
    ],
    ...(end ? { finishTime: agoOf(endedAgo) } : {}),
  },
});

const planOf = (some: Partial<DrainOfNode>) => {
  const base = {
    node: 'node1',
    policy: 'Migrate',
    nowMs,
    sinceMs: nowMs - 60_000,
    groups: [groupOf()],
    migrations: [],
    strays: 0,
    loneImages: [],
    hasKeeper: true,
  };
  const plan = drainPlanOf({ ...base, ...some } as DrainOfNode);
  const actions = plan.actions.map((action) =>
    action.kind === 'migrate'
      ? `migrate ${action.attempt}`
      : action.kind === 'end'
        ? 'end'
        : `delete ${action.migration.metadata.name}`,
  );
  return {
    ...plan,
    actions,
    blocked: plan.remains.map(({ blocked }) => blocked),
    why: remainsText(plan.remains),
  };
};

describe('what the drain of a node does next', () => {
  it('is nothing where nobody is', () => {
    expect(planOf({ groups: [] })).toMatchObject({ remains: [], actions: [] });
    expect(planOf({ groups: [], strays: 2 }).why).toContain('2 sandboxes their groups are being ended');
  });

  it('waits for images that are nowhere else, as long as that helps', () => {
    const seen = { groups: [], loneImages: ['default/c'] };
    expect(planOf(seen)).toMatchObject({ blocked: [false], lost: [], againAfterMs: 540_000 });
    expect(planOf(seen).why).toContain('Checkpoint default/c has images that are nowhere else');
    expect(planOf({ ...seen, hasKeeper: false })).toMatchObject({ remains: [], lost: ['default/c'] });
    expect(planOf({ ...seen, sinceMs: nowMs - 600_000 })).toMatchObject({ remains: [], lost: ['default/c'] });
  });

  it('makes one Migration of a group at a time, whoever made the one under way', () => {
    expect(planOf({}).actions).toEqual(['migrate 1']);
    const under = planOf({ migrations: [migrationOf(1)] });
    expect(under).toMatchObject({ actions: [], blocked: [false] });
    expect(under.why).toBe('default/g is being moved by Migration g-off-node1-abc-1: no room');
    const users = migrationOf(1, undefined, 0, { 'muster.dev/made-by': 'x', 'muster.dev/group-uid': '' });
    expect(planOf({ migrations: [users] }).actions).toEqual([]);
  });

  it.each([
    ['Failed', 5, 60, true, [], 'a pause as long as the drain had lasted'],
    ['Failed', 11, 12, false, ['migrate 2'], 'ten seconds at least'],
    ['Stalled', 5, 12, true, [], 'what is stalled has failed'],
    ['Failed', 601, 4000, false, ['migrate 2'], 'ten minutes at most'],
    ['Failed', 1, -1, true, [], 'ten seconds, of one that began before the drain'],
    ['Completed', 1, 60, false, [], 'until the group says so'],
    ['Completed', 3, 60, false, ['migrate 2'], 'again when it came back'],
  ] as const)(
    'after one that is %s %d s ago, the drain being %d s old',
    (end, endedAgo, age, blocked, actions, _why) => {
      const plan = planOf({ migrations: [migrationOf(1, end, endedAgo)], sinceMs: nowMs - age * 1000 });
      expect(plan).toMatchObject({ actions, blocked: [blocked] });
      if (actions.length === 0) expect(plan.againAfterMs).toBeGreaterThan(0);
      if (end !== 'Completed') expect(plan.why).toContain('no room');
    },
  );

  it('keeps the last three that failed, by number and not by name', () => {
    const migrations = [10, 9, 8, 11].map((attempt) => migrationOf(attempt, 'Failed', 700));
    expect(planOf({ migrations }).actions).toEqual(['delete g-off-node1-abc-8', 'migrate 12']);
  });

  it('moves a group that is in carrier Pods with addresses of its own; any other, and one that could not be moved, saves itself', () => {
    const carried = (status: ProcessGroupStatus = {}): ProcessGroup => {
      const group = groupOf(status);
      return { ...group, spec: { ...group.spec, template: {} } };
    };
    const groups = [carried({ network: { subnet: '10.0.0.0/24', vni: 1 } })];
    expect(planOf({ groups }).actions).toEqual(['migrate 1']);
    const earlier = migrationOf(1, 'Failed', 61);
    expect(planOf({ groups, migrations: [earlier] }).actions).toEqual(['migrate 2']);
    const saved = { actions: [], remains: [{ why: 'is to be saved', blocked: false }] };
    expect(planOf({ groups, migrations: [migrationOf(1, 'Failed')] })).toMatchObject(saved);
    expect(planOf({ groups: [carried()] })).toMatchObject(saved);
  });

  it('ends groups by Kill alone, once', () => {
    expect(planOf({ policy: 'Kill' }).actions).toEqual(['end']);
    const asked = groupOf({}, { annotations: { 'muster.dev/end': 'Drain' } });
    expect(planOf({ policy: 'Kill', groups: [asked] }).actions).toEqual([]);
    for (const policy of ['Migrate', 'Checkpoint', 'Suspend'] as const)
      expect(planOf({ policy, migrations: [migrationOf(1, 'Failed')] }).actions).not.toContain('end');
  });

  it.each([
    ['NodeDrained', false],
    ['CannotBeSaved', true],
    ['Hindered', true],
  ])('reads from the hold %s how a group is saved', (reason, blocked) => {
    const groups = [
      groupOf({ holds: [{ name: 'Drain', reason, message: 'node1 is being drained: so far' }] }),
    ];
    expect(planOf({ policy: 'Checkpoint', groups })).toMatchObject({ actions: [], blocked: [blocked] });
    expect(planOf({ policy: 'Suspend', groups }).why).toContain('so far');
  });

  it('waits for groups that end anyway', () => {
    expect(planOf({ groups: [groupOf({}, { deletionTimestamp: agoOf(1) })] }).actions).toEqual([]);
  });

  it('aborts what is under way when nobody asks for it any more', () => {
    const migrations = [
      migrationOf(1, 'Failed'),
      migrationOf(2),
      migrationOf(3, undefined, 0, { 'muster.dev/node': 'node2' }),
    ];
    expect(calledOff(migrations, 'node1', undefined)).toEqual([migrations[1]]);
    expect(calledOff(migrations, 'node1', 'Kill')).toEqual([migrations[1]]);
    expect(calledOff(migrations, 'node1', 'Migrate')).toEqual([]);
  });
});
