import { describe, expect, it } from 'vitest';
import { conditionOf } from '../../crds/conditions.ts';
import type { ProcessGroup, ProcessGroupStatus } from '../../crds/types.gen.ts';
import type { SandboxFact } from '../../wire/agent-types.ts';
import { copyAfterMs, leaseTimesOf } from '../../wire/fencing.ts';
import { phaseOf } from './phase.ts';
import { planOf } from './plan.ts';
import type { SandboxState, SandboxView, Seen } from './seen.ts';
import { statusOf } from './status.ts';
import { nothingElse } from './test-seen.ts';
import { eventsOf } from './transition-events.ts';

const seconds = 10;
const times = leaseTimesOf(seconds);
const fencedMs = copyAfterMs(times);
const running: ProcessGroupStatus = {
  phase: 'Running',
  runningTime: '2026-01-01T00:00:01Z',
  startTime: '2026-01-01T00:00:00Z',
  nodeLeaseSeconds: seconds,
  restarts: 0,
};

interface Sandbox {
  readonly carrierLoss?: string;
  readonly silentMs?: number;
  readonly state?: SandboxState;
  readonly fact?: Partial<SandboxFact>;
}

/** A group of two sandboxes, on node1 and node2, as its status says and as they are seen. */
function scene(
  status: ProcessGroupStatus,
  sandboxes: readonly Sandbox[],
  policy: ProcessGroup['spec']['failurePolicy'] = { node: 'Restart', maxRestarts: 3 },
): Seen {
  const want = conditionOf(status.conditions, 'Running')?.reason === 'Restarting' ? 'Kill' : 'Run';
  const views = sandboxes.map(({ silentMs = 0, state = 'Live', fact, carrierLoss }, ordinal): SandboxView => {
    const failed = fact?.state === 'Failed' || (fact?.failures?.length ?? 0) > 0 || fact?.abort != null;
    const base = { state: 'Running', reason: '', message: '', succeeded: '', failures: [], failuresTotal: 0 };
    const told = { ...base, limitExceeded: '', abort: null, brokenFence: null, ranksRunning: 1, ...fact };
    return {
      ordinal,
      incarnation: 1,
      node: `node${ordinal + 1}`,
      ranks: String(ordinal),
      rankCount: 1,
      standing: silentMs > 0 ? 'Away' : 'Connected',
      state,
      known: { fact: told as unknown as SandboxFact, failureOrder: failed ? ordinal + 1 : undefined },
      loss: undefined,
      forgotten: false,
      leaseSilentMs: silentMs,
      want,
      carrierLoss,
    };
  });
  return {
    nowMs: Date.parse('2026-01-01T00:10:00Z'),
    group: {
      apiVersion: 'muster.dev/v1alpha1',
      kind: 'ProcessGroup',
      metadata: { name: 'g', namespace: 'default', uid: 'u', generation: 1, finalizers: [] },
      spec: {
        size: 2,
        processes: [{ name: 'main', ranks: '0-1', command: ['x'] }],
        failurePolicy: policy,
      },
      status,
    },
    sandboxes: views,
    ...nothingElse,
  };
}

/** What a visit makes of it: the phase, and the status for the next visit. */
function visit(seen: Seen) {
  const phase = phaseOf(seen);
  const status = statusOf(seen, phase);
  const kinds = planOf(seen, phase).after.map(({ kind }) => kind);
  const events = eventsOf(seen.group.status, status).map(({ reason }) => reason);
  return { phase, status, kinds, events, holds: status.holds?.map(({ name }) => name) ?? [] };
}

const expired = { silentMs: times.expiresAfterMs };
const fenced = { silentMs: fencedMs };
const killed = { state: 'Over', fact: { state: 'Ended', ranksRunning: 0 } } as const;
const abort = { rank: 1, exitCode: 1, message: '', atNs: 1 };

describe('a group under a lease', () => {
  it('is held while a node is silent, and let go when it is heard of', () => {
    expect(visit(scene(running, [{ silentMs: times.expiresAfterMs - 1 }, {}])).holds).toEqual([]);
    const doubt = visit(scene(running, [expired, {}]));
    expect(doubt).toMatchObject({
      phase: 'Running',
      holds: ['Fence'],
      events: expect.arrayContaining(['NodeSilent']) as string[],
    });
    expect(visit(scene(doubt.status, [{}, {}]))).toMatchObject({ phase: 'Running', holds: [], events: [] });
  });

  it('is started again once the hard end has passed and the rest has ended, not before', () => {
    const doubt = visit(scene(running, [expired, {}]));
    expect(visit(scene(doubt.status, [{ silentMs: fencedMs - 1 }, {}])).phase).toBe('Running');
    const clearing = visit(scene(doubt.status, [fenced, {}]));
    expect(clearing).toMatchObject({
      phase: 'Restarting',
      holds: [],
      events: ['Restarting'],
      kinds: ['want'],
    });
    expect(visit(scene(clearing.status, [fenced, {}])).phase).toBe('Restarting');
    const over = visit(scene(clearing.status, [fenced, killed]));
    expect(over).toMatchObject({ phase: 'Restarted', kinds: ['vacate'] });
    expect(over.status).toMatchObject({ phase: 'Pending', restarts: 1, incarnation: 1 });
    const { placement, nodeLeaseSeconds } = JSON.parse(JSON.stringify(over.status)) as ProcessGroupStatus;
    expect({ placement, nodeLeaseSeconds }).toEqual({ placement: undefined, nodeLeaseSeconds: undefined });
  });

  it('waits for a hard end when another node was lost at once', () => {
    const lost = { state: 'Lost' } as const;
    const clearing = visit(scene(running, [lost, {}]));
    expect(clearing.phase).toBe('Restarting');
    expect(visit(scene(clearing.status, [lost, expired])).phase).toBe('Restarting');
    expect(visit(scene(clearing.status, [lost, fenced])).phase).toBe('Restarted');
  });

  it('concludes nothing of a sandbox that may still be granted a lease', () => {
    const clearing = visit(scene(running, [{ state: 'Lost' }, {}]));
    const seen = scene(clearing.status, [{ state: 'Lost' }, fenced]);
    const granting = {
      ...seen,
      sandboxes: seen.sandboxes.map((view) => ({ ...view, want: 'Run' as const })),
    };
    expect(phaseOf(granting)).toBe('Restarting');
  });

  it('takes for lost with its node what was killed with its lease, whatever its ranks say', () => {
    const over = {
      state: 'Over',
      fact: { state: 'Failed', reason: 'LeaseExpired', ranksRunning: 0 },
    } as const;
    expect(visit(scene(running, [over, { fact: { abort } }])).phase).toBe('Restarting');
  });

  it('does not fail by what follows from a silent node, but by a failure of its own', () => {
    expect(visit(scene(running, [{ silentMs: 1 }, { fact: { abort } }])).phase).toBe('Running');
    expect(visit(scene(running, [{}, { fact: { abort } }])).phase).toBe('Ending');
  });

  it('fails when it was started again as often as it may be', () => {
    const last = { ...running, restarts: 3 };
    expect(visit(scene(last, [expired, {}])).holds).toEqual([]);
    const { phase, status } = visit(scene(last, [fenced, {}]));
    expect(phase).toBe('Ending');
    expect(status.exitSummary).toMatchObject({ reason: 'RestartsExhausted', node: 'node1' });
  });

  it('runs on through any silence when its policy is to fail', () => {
    expect(visit(scene(running, [fenced, {}], { node: 'Fail' }))).toMatchObject({
      phase: 'Running',
      holds: [],
    });
  });

  const evicted = 'carrier Pod g-1-0 Evicted: low on disk';

  it('is started again when it loses a Pod, once nothing of it runs any more', () => {
    const clearing = visit(scene(running, [{ carrierLoss: evicted }, {}]));
    expect(clearing).toMatchObject({ phase: 'Restarting', kinds: ['want'] });
    expect(clearing.events).toContain('Restarting');
    const { message } = conditionOf(clearing.status.conditions, 'Running')!;
    expect(message).toBe(`${evicted}: the group is started again from its beginning`);
    // Its node is silent besides.
    const ending = { carrierLoss: evicted, silentMs: 1 };
    expect(visit(scene(clearing.status, [ending, killed])).phase).toBe('Restarting');
    const other = visit(scene(clearing.status, [{ carrierLoss: evicted, ...killed }, {}]));
    expect(other.phase).toBe('Restarting');
    expect(conditionOf(other.status.conditions, 'Running')!.message).toBe(message);
    const over = visit(scene(clearing.status, [{ carrierLoss: evicted, ...killed }, killed]));
    expect(over).toMatchObject({ phase: 'Restarted', status: { restarts: 1 } });
  });

  it.each<[string, Sandbox['fact']]>([
    ['ranks', { limitExceeded: 'carrier' }],
    ['sandbox', { state: 'Failed', reason: 'CarrierLost' }],
  ])('takes the word of the agent for it that the Pod of its %s is gone', (_what, fact) => {
    const sandbox = { state: 'Over', fact: { ranksRunning: 0, ...fact } } as const;
    expect(visit(scene(running, [sandbox, {}])).phase).toBe('Restarting');
    expect(visit(scene(running, [sandbox, {}], { node: 'Fail' })).phase).toBe('Ending');
  });

  it('fails when it loses a Pod once more than it may', () => {
    const { status } = visit(scene({ ...running, restarts: 3 }, [{ carrierLoss: evicted }, {}]));
    expect(status.exitSummary).toMatchObject({
      reason: 'RestartsExhausted',
      message: expect.stringContaining(evicted) as string,
    });
  });
});
