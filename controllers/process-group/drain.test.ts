import { describe, expect, it } from 'vitest';
import { finalizers } from '../../crds/names.ts';
import type { Checkpoint, ProcessGroup, ProcessGroupHold, ProcessGroupSpec } from '../../crds/types.gen.ts';
import type { SandboxFact } from '../../wire/agent-types.ts';
import type { PlacedImage } from '../checkpoint/copies.ts';
import type { DrainPolicy } from '../node-monitor/treatment.ts';
import { drainHoldOf, drainOf } from './drain.ts';
import { phaseOf } from './phase.ts';
import { planOf } from './plan.ts';
import type { Seen } from './seen.ts';
import { queueLabel } from './suspend-policy.ts';
import { statusOf } from './status.ts';

const nowMs = Date.parse('2026-01-01T01:00:00Z');
const agoOf = (seconds: number): string => new Date(nowMs - seconds * 1000).toISOString().replace('.000', '');

interface Case {
  /** Of nodes that are drained. */
  readonly policies?: Readonly<Record<string, DrainPolicy>>;
  readonly on?: readonly string[];
  readonly spec?: Partial<ProcessGroupSpec>;
  readonly hold?: Partial<ProcessGroupHold>;
  readonly step?: 'Dumping' | 'Ready' | 'Failed';
  readonly finishedAgo?: number;
  readonly images?: readonly (readonly string[])[];
  readonly keepers?: readonly string[];
  readonly frozen?: boolean;
  readonly standing?: 'Away';
  /** Of Kueue's. */
  readonly queue?: string;
}

function seenOf({
  policies = { node1: 'Checkpoint' },
  on = ['node1', 'node2'],
  spec = {},
  hold,
  step,
  finishedAgo = 5,
  images = [['node1'], ['node2']],
  keepers = ['node1', 'node2', 'node3'],
  frozen = false,
  standing,
  queue,
}: Case): Seen {
  // prettier-ignore
  const holds = hold ? [{ name: 'Drain' as const, reason: 'NodeDrained', nodes: 'node1', since: agoOf(60), ...hold }] : undefined;
  const group: ProcessGroup = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: {
      name: 'g',
      namespace: 'default',
      uid: 'u1',
      generation: 1,
      finalizers: [finalizers.ranks.name],
      ...(queue === undefined ? {} : { labels: { [queueLabel]: queue } }),
    },
    spec: { size: 2, processes: [{ name: 'main', ranks: '0-1', command: ['x'] }], ...spec },
    status: { ...(on.length > 0 ? { runningTime: agoOf(100) } : {}), ...(holds ? { holds } : {}) },
  };
  const assignments = on.map((node, ordinal) => ({
    ordinal, node, incarnation: 1, ranks: `${ordinal}`, rankCount: 1, standing: standing ?? ('Connected' as const),
  })); // prettier-ignore
  const saving: Checkpoint | undefined =
    step &&
    ({
      metadata: { name: 'g-suspend-1' },
      spec: { processGroupName: 'g' },
      status: {
        step,
        ...(step === 'Dumping' ? {} : { finishTime: agoOf(finishedAgo) }),
        conditions:
          step === 'Failed' ? [{ type: 'Failed', status: 'True', reason: 'DumpFailed', message: 'no' }] : [],
      },
    } as unknown as Checkpoint);
  const placed = images.map((nodes, ordinal): PlacedImage => ({
    ordinal,
    nodes,
    digest: 'd',
    bytes: 1,
    connected: 1,
  }));
  const drain = drainOf(group, assignments, step === 'Ready' ? placed : undefined, {
    treatment: (node) => ({ cordons: [], drain: policies[node] && { policy: policies[node], causes: [] } }),
    keepers: () => keepers,
    couldNotMove: () => false,
  });
  const fact = {
    state: 'Running',
    frozen,
    failures: [],
    succeeded: '',
    abort: null,
    brokenFence: null,
    checkpoint: null,
  };
  return {
    nowMs,
    group,
    sandboxes: assignments.map((assignment) => ({
      ...assignment,
      state: 'Live',
      known: { fact: { failuresTotal: 0, ranksRunning: 1, ...fact } as unknown as SandboxFact, failureOrder: undefined },
      loss: undefined,
      forgotten: false,
    })),
    network: 'Host', networkClaim: undefined, restore: undefined, saving, lastCheckpoint: undefined, policyCheckpoints: [],
    carriers: undefined, placing: undefined, invalid: [], unsupported: [], clientLeaseLeftMs: undefined, endRequest: undefined,
    removedForMs: undefined, drain,
  }; // prettier-ignore
}

const actionsOf = (seen: Seen): string[] => {
  const { before, after } = planOf(seen, phaseOf(seen));
  return [...before, ...after].map(({ kind }) => kind);
};

describe('a group on a node that is drained', () => {
  it.each([
    ['is saved at first', {}, 'Saving', ['save', 'want']],
    [
      'is saved in its Pods where others move',
      { policies: { node1: 'Migrate' }, spec: { template: {} } },
      'Saving',
      ['save', 'want'],
    ],
    ['is left alone by other policies', { policies: { node1: 'Migrate', node2: 'Kill' } }, 'Running', ['want']],
    ['is left alone by drains of other nodes', { policies: { node3: 'Checkpoint' } }, 'Running', ['want']],
    ['waits while it is dumped', { step: 'Dumping' }, 'Saving', ['want']],
    ['waits for a copy off the node', { step: 'Ready' }, 'Saving', ['want']],
    ['does not count a copy on another node that is drained', {
      step: 'Ready', policies: { node1: 'Checkpoint', node2: 'Migrate' }, images: [['node1', 'node2'], ['node2', 'node3']],
    }, 'Saving', ['want']],
    ['ends there once every image is elsewhere', { step: 'Ready', images: [['node1', 'node3'], ['node2']] }, 'Vacating', ['want']],
    ['runs on when it could not be saved', { step: 'Failed' }, 'Running', ['want']],
    ['is thawed when the drain is called off meanwhile', { policies: {}, step: 'Dumping' }, 'Running', ['want', 'dropSaving']],
    ['is not stopped where nobody could keep its images', { keepers: ['node1'] }, 'Running', ['want']],
    ['is not stopped for a save that would wait for an agent', { standing: 'Away' }, 'Running', ['want']],
    ['is saved out of carrier Pods as well', { spec: { template: {} } }, 'Saving', ['save', 'want']],
    ['gives its nodes back all the same where Kueue asks for them and it could not be saved', {
      policies: {}, step: 'Failed', spec: { suspend: true, suspendPolicy: 'Checkpoint' }, queue: 'batch',
    }, 'Vacating', ['want']],
    ['runs on when no copy comes to be', { step: 'Ready', finishedAgo: 601 }, 'Running', ['want', 'dropSaving']],
    ['is tried again when its time has come', {
      step: 'Failed', hold: { reason: 'CannotBeSaved', retryTime: agoOf(0) },
    }, 'Running', ['want', 'dropSaving']],
    ['is saved again after that', { hold: { reason: 'CannotBeSaved', retryTime: agoOf(0) } }, 'Saving', ['save', 'want']],
    ['waits for that time though nothing is in the way', {
      hold: { reason: 'CannotBeSaved', retryTime: agoOf(-30) },
    }, 'Running', ['want']],
    ['is saved though its user has frozen it', { spec: { suspend: true }, frozen: true }, 'Saving', ['save', 'want']],
    ['stays frozen when that fails', { spec: { suspend: true }, frozen: true, step: 'Failed' }, 'Frozen', ['want']],
    ['ends by its own policy when its user suspends it so', { spec: { suspend: true, suspendPolicy: 'Stop' } }, 'Vacating', ['want']],
  ] as const satisfies readonly (readonly [string, Case, string, readonly string[]])[])('%s', (_name, some, phase, actions) => {
    const seen = seenOf(some);
    expect(phaseOf(seen)).toBe(phase);
    expect(actionsOf(seen)).toEqual(actions);
  }); // prettier-ignore

  it('says in its hold what it waits for, and tries again after pauses that grow', () => {
    expect(drainHoldOf(seenOf({}))).toMatchObject({
      name: 'Drain',
      reason: 'NodeDrained',
      nodes: 'node1',
      message: 'node1 is being drained, policy Checkpoint: the group is to be saved',
      since: agoOf(0),
    });
    const soon = drainHoldOf(seenOf({ step: 'Failed', hold: { since: agoOf(3) } }));
    expect(soon).toMatchObject({ reason: 'CannotBeSaved', retryTime: agoOf(-15) });
    expect(soon?.message).toContain('could not be saved: DumpFailed: no; it stays where it is');
    const later = drainHoldOf(seenOf({ step: 'Failed', hold: { since: agoOf(100) } }));
    expect(later).toMatchObject({ retryTime: agoOf(-100), since: agoOf(100) });
    const last = drainHoldOf(seenOf({ step: 'Failed', hold: { since: agoOf(9999) } }));
    expect(last).toMatchObject({ retryTime: agoOf(-600) });
    // As long as it waits, it says the same.
    const waits = seenOf({ step: 'Failed', hold: { ...soon! } });
    expect(drainHoldOf(waits)).toEqual(soon);
  });

  it('has left: by Suspend it is held until the drain is over, by Checkpoint it goes on at once', () => {
    const held = { on: [], hold: {} };
    expect(phaseOf(seenOf({ ...held, policies: { node1: 'Suspend' } }))).toBe('Held');
    expect(seenOf({ ...held, policies: { node1: 'Checkpoint' } }).drain).toBeUndefined();
    expect(seenOf({ ...held, policies: {} }).drain).toBeUndefined();
    // One that was never there is nobody's business.
    expect(seenOf({ on: [], policies: { node1: 'Suspend' } }).drain).toBeUndefined();
  });

  it('keeps the hold over its leaving only by Suspend', () => {
    const images = [['node3'], ['node3']];
    const left = (policy: DrainPolicy) =>
      statusOf(seenOf({ policies: { node1: policy }, step: 'Ready', images, hold: {} }), 'Vacated').holds;
    expect(left('Suspend')).toMatchObject([{ name: 'Drain', nodes: 'node1' }]);
    expect(left('Checkpoint')).toBeUndefined();
  });
});
