import { describe, expect, it } from 'vitest';
import type { Migration, ProcessGroup } from '../../crds/types.gen.ts';
import type { CarrierView } from '../carrier/view.ts';
import type { NodeState } from '../hub/node-table.ts';
import { nothingElse } from '../process-group/test-seen.ts';
import { planOf } from '../process-group/plan.ts';
import type { SandboxView } from '../process-group/seen.ts';
import { advanceOf } from './advance.ts';
import { choiceOf, type Choice } from './choice.ts';
import type { MigrationSeen, Mover } from './seen.ts';

const nowMs = Date.parse('2026-01-01T01:00:00Z');
const group = {
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name: 'g', namespace: 'default', uid: 'u1' },
  spec: { size: 4, template: { spec: { image: 'user' } }, placement: { ranksPerNode: 2 } },
  status: { phase: 'Running', network: { subnet: '10.0.0.0/24', vni: 1 } },
} as ProcessGroup;
const placement = [0, 1].map((ordinal) => ({
  ordinal,
  node: 'a',
  incarnation: 3,
  ranks: `${ordinal * 2}-${ordinal * 2 + 1}`,
  rankCount: 2,
}));
const view = (ordinal: number, more: Partial<CarrierView> = {}): CarrierView => ({
  name: `g-4-${ordinal}`, namespace: 'default', uid: `pod${ordinal}`, ordinal, incarnation: 4, state: 'Running', node: 'b',
  address: '', createdMs: nowMs - 10_000, avoids: [], profile: '', migrationUid: 'm1', why: '', ...more,
}); // prettier-ignore
const offer = (name: string, cordoned = false) => ({
  name, ready: true, cordoned, labels: {}, cpus: 8, memoryBytes: 1e9, ranksPlaced: 0,
}); // prettier-ignore
const state = {
  hello: { features: ['checkpoint', 'network-isolated'], missing: [], cpuFeatures: [], underlayMtu: 1500 },
} as unknown as NodeState;
const migrationOf = (spec: object = {}): Migration =>
  ({
    metadata: { name: 'm', namespace: 'default', uid: 'm1' },
    spec: { processGroupName: 'g', from: 'a', ...spec },
  }) as Migration;

const choose = (
  views: readonly CarrierView[],
  { of = group, spec = {}, isKnown = true }: { of?: ProcessGroup; spec?: object; isKnown?: boolean } = {},
): Choice =>
  choiceOf(migrationOf(spec), {
    group: of,
    placement,
    offers: [offer('a'), offer('b'), offer('c', true), offer('d')],
    nodeOf: () => state,
    isAway: () => false,
    memoryOf: () => 1,
    pods: { views, isKnown, timeoutMs: 60_000, nowMs },
  });

describe('sandboxes in carrier Pods', () => {
  it('get other Pods first, away from nodes that cannot take them, in the next incarnation', () => {
    const share = { migrationUid: 'm1', avoided: ['a', 'c'], preferred: ['b'] };
    expect(choose([])).toMatchObject({
      kind: 'carriers',
      make: [
        { ordinal: 0, ranks: '0-1', rankCount: 2, ...share },
        { ordinal: 1, ranks: '2-3', rankCount: 2, ...share },
      ],
    });
    expect(choose([], { spec: { to: 'd' } })).toMatchObject({ make: [{ node: 'd' }, { node: 'd' }] });
  });

  it('go where the scheduler has put these, standing still', () => {
    expect(choose([view(0), view(1, { node: 'd' })], { spec: { strategy: 'Auto' } })).toMatchObject({
      kind: 'moves',
      strategy: 'StopAndCopy',
      moves: [
        { ordinal: 0, to: 'b', incarnation: 4 },
        { ordinal: 1, to: 'd', incarnation: 4 },
      ],
    });
  });

  it('share a node as the scheduler has it, whatever each of them may have', () => {
    expect(choose([view(0), view(1)])).toMatchObject({ kind: 'moves', moves: [{ to: 'b' }, { to: 'b' }] });
  });

  const pending = { state: 'Pending', node: undefined, why: 'Unschedulable: no room' } as const;
  const old = { createdMs: nowMs - 60_000 };
  it.each<[string, CarrierView, object]>([
    ['one that is not scheduled', view(1, pending), { kind: 'carriers', make: [], message: 'carrier Pod g-4-1 Unschedulable: no room' }],
    ['one that never was', view(1, { ...pending, ...old }), { kind: 'refused', reason: 'NoTarget', message: 'no carrier Pod ran where the ranks can go within 60 s: carrier Pod g-4-1 Unschedulable: no room' }],
    ['one on a node without an agent', view(1, { node: 'e' }), { kind: 'carriers', message: 'carrier Pod g-4-1 is on node e, which has no agent; see that the agents run there (kubectl get ds)' }],
    ['one on a node that is cordoned', view(1, { node: 'c', ...old }), { kind: 'refused', reason: 'NoTarget' }],
    ['one that was deleted', view(1, { state: 'Leaving', why: 'was deleted' }), { kind: 'refused', reason: 'TransferFailed', message: 'carrier Pod g-4-1 was deleted' }],
    ['one of another attempt', view(1, { migrationUid: 'm0', state: 'Leaving' }), { kind: 'carriers', make: [], message: 'carrier Pod g-4-1 has to go first: it was made for something else' }],
  ])('wait for a Pod, but not for ever: %s', (_what, pod, expected) => {
    expect(choose([view(0), pod])).toMatchObject(expected);
  }); // prettier-ignore

  it('wait until it is known which Pods there are', () => {
    expect(choose([], { isKnown: false })).toMatchObject({ kind: 'carriers', make: [] });
  });

  it('stay where their addresses are those of their Pods, or by another strategy', () => {
    const host = { ...group, status: { phase: 'Running' } } as ProcessGroup;
    expect(choose([], { of: host })).toMatchObject({ kind: 'refused', reason: 'PreflightFailed' });
    expect(choose([], { spec: { strategy: 'PostCopy' } })).toEqual({
      kind: 'refused',
      reason: 'NotSupported',
      message: 'strategy PostCopy: ranks in carrier Pods move as they stand still; use Auto or StopAndCopy',
    });
  });
});

const side = (node: string) => ({
  node,
  standing: 'Connected',
  fact: undefined,
  move: undefined,
  lost: false,
});
const mover = (pod: CarrierView | undefined): Mover =>
  ({
    move: { ordinal: 0, from: 'a', to: 'b', incarnation: 4 },
    ranks: '0-1',
    leaver: side('a'),
    comer: side('b'),
    told: { leaver: 'Left', comer: 'Placing' },
    pod,
  }) as Mover;
const seenWith = (pod: CarrierView | undefined, more: Partial<MigrationSeen> = {}): MigrationSeen => ({
  nowMs,
  migration: {
    ...migrationOf(),
    status: { phase: 'Copying', startTime: '2026-01-01T00:59:59Z', processGroupUid: 'u1' },
  },
  group,
  placement,
  movers: [mover(pod)],
  isCarried: true,
  arePodsKnown: true,
  scratch: [],
  isClaimed: true,
  isCommitted: false,
  waitsFor: undefined,
  choice: undefined,
  ...more,
});

describe('a move into a carrier Pod', () => {
  it('goes on while that is there, and is given up once it is not', () => {
    expect(advanceOf(seenWith(view(0)))).toMatchObject({ from: 'Copying', to: 'Copying' });
    for (const pod of [undefined, view(0, { state: 'Leaving', why: 'was deleted' })])
      expect(advanceOf(seenWith(pod))).toMatchObject({
        to: 'Aborting',
        actions: ['Release'],
        failure: { reason: 'TransferFailed' },
      });
  });

  it('is not given up while it is not known which there are, nor after the commit', () => {
    expect(advanceOf(seenWith(undefined, { arePodsKnown: false })).to).toBe('Copying');
    expect(advanceOf(seenWith(undefined, { isCommitted: true })).to).toBe('Switching');
  });

  it('keeps the Pod that is to come, and has the one let go that was left', () => {
    const sandboxes = placement.map(
      (each) => ({ ...each, state: 'Live', standing: 'Connected' }) as SandboxView,
    );
    const moved = sandboxes.map((each) => (each.ordinal === 0 ? { ...each, incarnation: 4 } : each));
    const views = [view(0, { incarnation: 3 }), view(1, { incarnation: 3 }), view(0)];
    const released = (of: readonly SandboxView[]): unknown[] =>
      planOf(
        { ...nothingElse, nowMs, group, sandboxes: of, carriers: { views, gang: undefined } },
        'Running',
      ).after.flatMap((action) => (action.kind === 'carriers' ? action.release : []));
    expect(released(sandboxes)).toEqual([]);
    expect(released(moved)).toEqual([views[0]]);
  });
});
