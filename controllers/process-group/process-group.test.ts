import { describe, expect, it } from 'vitest';
import { annotations, finalizers } from '../../crds/names.ts';
import type { ProcessGroup, ProcessGroupSpec, ProcessGroupStatus } from '../../crds/types.gen.ts';
import type { RankEnd, SandboxFact } from '../../wire/agent-types.ts';
import type { Wish } from '../hub/desired-book.ts';
import type { Standing } from '../hub/node-table.ts';
import { compressPlacement } from '../placement/placement-status.ts';
import { identityOf, specsOf } from '../spec-of.ts';
import { mostPhases } from './phase-history.ts';
import { phaseOf, type Phase } from './phase.ts';
import { planOf } from './plan.ts';
import { sandboxStateOf, type SandboxView, type Seen } from './seen.ts';
import { statusOf } from './status.ts';
import { nothingElse } from './test-seen.ts';
import { eventsOf } from './transition-events.ts';

const nowMs = Date.parse('2026-01-01T00:10:00Z');
const fact: SandboxFact = {
  id: null, state: 'Running', reason: '', message: '', ranksTotal: 2, ranksRunning: 2, succeeded: '', failures: [], failuresTotal: 0,
  abort: null, frozen: false, startedNs: 1, ranksStartedNs: 1, endedNs: 0, cpuUs: 0, userUs: 0, systemUs: 0, readBytes: 0, writtenBytes: 0, memoryBytes: 0, memoryPeakBytes: 0, oomKills: 0,
  logBytes: 0, logsComplete: false, pmiInitialized: false, pmiFinalized: false, pmiBadLines: 0, limitExceeded: '', bootId: 'b', initPid: 1,
  forksRefused: 0, bindings: [],
  brokenFence: null, checkpoint: null, move: null,
}; // prettier-ignore
const rankEnd: RankEnd = {
  rank: 0,
  waitStatus: 0,
  stage: 0,
  error: 0,
  message: '',
  endedNs: 1,
  byUs: false,
  withoutFinalize: false,
};

interface Case {
  spec?: Partial<ProcessGroupSpec>;
  status?: ProcessGroupStatus;
  meta?: Partial<ProcessGroup['metadata']>;
  /** One sandbox for each; undefined: nothing is known of it. */
  facts?: (Partial<SandboxFact> | undefined)[];
  standing?: Standing;
  more?: Partial<Seen>;
}

function seenOf({ spec, status, meta, facts = [], standing = 'Connected', more }: Case): Seen {
  const size = Math.max(1, facts.length * 2);
  const group: ProcessGroup = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: {
      name: 'g',
      namespace: 'default',
      uid: 'u1234567890',
      generation: 1,
      finalizers: [finalizers.ranks.name],
      ...meta,
    },
    spec: {
      size,
      processes: [{ name: 'main', ranks: size === 1 ? '0' : `0-${size - 1}`, command: ['x'] }],
      ...spec,
    },
    ...(status ? { status } : {}),
  };
  let order = 0;
  const sandboxes = facts.map((some, ordinal): SandboxView => {
    const failed =
      (some?.failures?.length ?? 0) > 0 || some?.abort || some?.brokenFence || some?.state === 'Failed';
    const known = some
      ? { fact: { ...fact, ...some }, failureOrder: failed ? ++order : undefined }
      : undefined;
    const state = sandboxStateOf(standing, known, undefined, status?.runningTime !== undefined);
    return {
      ordinal,
      incarnation: 1,
      node: `node${ordinal + 1}`,
      ranks: `${ordinal * 2}-${ordinal * 2 + 1}`,
      rankCount: 2,
      standing,
      state,
      known,
      loss: undefined,
      forgotten: false,
    };
  });
  return {
    nowMs,
    group,
    sandboxes,
    ...nothingElse,
    ...more,
  };
}

const ran: ProcessGroupStatus = {
  startTime: '2026-01-01T00:00:00Z',
  runningTime: '2026-01-01T00:00:01Z',
  activeSince: '2026-01-01T00:00:00.000Z',
};
const vacating: ProcessGroupStatus = {
  ...ran,
  conditions: [
    {
      type: 'Suspended',
      status: 'False',
      reason: 'Vacating',
      message: '',
      lastTransitionTime: ran.startTime!,
    },
  ],
};
const ended = { state: 'Ended', ranksRunning: 0, succeeded: '0-1' };
const endedToo = { ...ended, succeeded: '2-3' };
const failing = {
  failures: [{ ...rankEnd, rank: 1, waitStatus: 3 << 8 }],
  failuresTotal: 1,
  ranksRunning: 1,
};
const finishedOf = (type: 'Succeeded' | 'Failed'): ProcessGroupStatus => ({
  ...ran,
  finishTime: '2026-01-01T00:09:00Z',
  conditions: [
    { type, status: 'True', reason: 'x', message: '', lastTransitionTime: '2026-01-01T00:09:00Z' },
  ],
});

/** Case, phase, what agents are told (or the plan's other action), the conditions that are True. */
const table: [string, Case, Phase, string, string][] = [
  [
    'waits',
    { more: { placing: { kind: 'waiting', reason: 'Insufficient', message: 'm' } } },
    'Pending',
    '',
    'Reconciling',
  ],
  ['is invalid', { more: { invalid: ['spec.x: y'] } }, 'Invalid', '', 'Stalled'],
  ['is not supported', { more: { unsupported: ['spec.x: y'] } }, 'NotSupported', '', 'Stalled'],
  ['is held', { spec: { suspend: true } }, 'Held', '', 'Suspended'],
  [
    'is placed',
    {
      more: { placing: { kind: 'placed', sandboxes: [{ ordinal: 0, node: 'a', ranks: '0', rankCount: 1 }] } },
    },
    'Placing',
    'Run',
    'Placed Reconciling',
  ],
  ['starts', { facts: [{}, undefined] }, 'Starting', 'Run', 'Placed Reconciling'],
  [
    'starts with an agent away',
    { facts: [{}, undefined], standing: 'Away' },
    'Starting',
    'Run',
    'Placed Reconciling',
  ],
  ['runs', { facts: [{}, {}] }, 'Running', 'Run', 'Placed Running'],
  ['runs with one sandbox over', { facts: [ended, {}] }, 'Running', 'Run', 'Placed Running'],
  [
    'runs on with a lost node',
    { facts: [{}], status: ran, standing: 'Lost' },
    'Running',
    'Run',
    'Placed Reconciling',
  ],
  ['loses a sandbox', { facts: [{}, undefined], status: ran }, 'Ending', 'End', 'Placed Reconciling'],
  [
    'is being frozen',
    { facts: [{ frozen: true }, {}], spec: { suspend: true }, status: ran },
    'Suspending',
    'Freeze',
    'Placed Running Reconciling',
  ],
  [
    'is frozen',
    { facts: [{ frozen: true }, ended], spec: { suspend: true }, status: ran },
    'Frozen',
    'Freeze',
    'Placed Suspended',
  ],
  [
    'is being stopped for its suspension',
    { facts: [{}, ended], spec: { suspend: true, suspendPolicy: 'Stop' }, status: ran },
    'Vacating',
    'End',
    'Placed Reconciling',
  ],
  [
    'is stopped although it was resumed meanwhile, and although a rank failed',
    { facts: [failing, ended], status: vacating },
    'Vacating',
    'End',
    'Placed Reconciling',
  ],
  [
    'waits for a lost node before it gives back the others',
    { facts: [ended, {}], status: vacating, standing: 'Lost' },
    'Vacating',
    'End',
    'Placed Reconciling',
  ],
  [
    'has been stopped',
    { facts: [ended, { ...ended, ...failing, ranksRunning: 0 }], status: vacating },
    'Vacated',
    'vacate',
    'Suspended',
  ],
  [
    'ended by itself before it could be stopped',
    { facts: [ended, endedToo], spec: { suspend: true, suspendPolicy: 'Stop' }, status: ran },
    'Ended',
    'Keep',
    'Succeeded',
  ],
  [
    'is thawed',
    { facts: [{ frozen: true }, {}], status: ran },
    'Resuming',
    'Run',
    'Placed Running Reconciling',
  ],
  ['ends for a failure', { facts: [failing, {}], status: ran }, 'Ending', 'End', 'Placed Reconciling'],
  [
    'goes on in spite of a failure',
    { facts: [failing, {}], status: ran, spec: { failurePolicy: { rank: 'Continue' } } },
    'Running',
    'Run',
    'Placed Running',
  ],
  [
    'ends for MPI_Abort whatever the policy',
    {
      facts: [{ abort: { rank: 0, exitCode: 2, message: '', atNs: 1 } }],
      spec: { failurePolicy: { rank: 'Continue' } },
    },
    'Ending',
    'End',
    'Placed Reconciling',
  ],
  [
    'ends at its wall time',
    { facts: [{}], status: ran, spec: { limits: { wallTimeSeconds: 600 } } },
    'Ending',
    'End',
    'Placed Reconciling',
  ],
  [
    'ends with its client',
    { facts: [{}], status: ran, more: { clientLeaseLeftMs: 0 } },
    'Ending',
    'End',
    'Placed Reconciling',
  ],
  [
    'ends on request',
    { facts: [{}], status: ran, more: { endRequest: { kill: true, reason: 'Interrupted', message: '' } } },
    'Ending',
    'Kill',
    'Placed Reconciling',
  ],
  [
    'does not take silence for success',
    { facts: [ended, { ...ended, succeeded: '2' }], status: ran },
    'Ended',
    'Keep',
    'Failed Stalled',
  ],
  ['has succeeded', { facts: [ended, endedToo], status: ran }, 'Ended', 'Keep', 'Succeeded'],
  [
    'has failed',
    { facts: [{ ...ended, ...failing, ranksRunning: 0 }, ended], status: ran },
    'Ended',
    'Keep',
    'Failed Stalled',
  ],
  [
    'fails late with Continue',
    { facts: [{ ...ended, ...failing, ranksRunning: 0 }], spec: { failurePolicy: { rank: 'Continue' } } },
    'Ended',
    'Keep',
    'Failed Stalled',
  ],
  [
    'does not wait for a lost node once it has to end',
    { facts: [{}], status: ran, standing: 'Lost', spec: { limits: { wallTimeSeconds: 1 } } },
    'Ended',
    'Kill',
    'Failed Stalled',
  ],
  ['is finished', { facts: [ended], status: finishedOf('Succeeded') }, 'Finished', 'Keep', 'Succeeded'],
  [
    'outlived its ttl',
    { facts: [ended], status: finishedOf('Failed'), spec: { ttlSecondsAfterFinished: 60 } },
    'Finished',
    'Keep deleteObject',
    'Failed',
  ],
  [
    'is deleted while it runs',
    { facts: [{}], status: ran, meta: { deletionTimestamp: '2026-01-01T00:10:00Z' } },
    'Deleting',
    'End',
    '',
  ],
  [
    'is deleted, and the grace is over',
    { facts: [{}], status: ran, meta: { deletionTimestamp: '2026-01-01T00:09:00Z' } },
    'Deleting',
    'Kill',
    '',
  ],
  [
    'is deleted when over',
    { facts: [ended], meta: { deletionTimestamp: '2026-01-01T00:10:00Z' } },
    'Deleting',
    'remove',
    '',
  ],
  [
    'is deleted unplaced',
    { meta: { deletionTimestamp: '2026-01-01T00:10:00Z' } },
    'Deleting',
    'dropFinalizer',
    '',
  ],
  [
    'is forgotten by lost nodes',
    {
      facts: [undefined],
      standing: 'Lost',
      meta: { deletionTimestamp: '2026-01-01T00:10:00Z' },
      more: { removedForMs: 1 },
    },
    'Deleting',
    'dropFinalizer',
    '',
  ],
  [
    'waits to be forgotten by nodes that are away',
    {
      facts: [undefined],
      standing: 'Away',
      meta: { deletionTimestamp: '2026-01-01T00:10:00Z' },
      more: { removedForMs: 9999 },
    },
    'Deleting',
    'remove',
    '',
  ],
];

describe('ProcessGroup', () => {
  it.each(table)('%s', (_, given, phase, told, conditions) => {
    const seen = seenOf(given);
    expect(phaseOf(seen)).toBe(phase);
    const actions = planOf(seen, phase).after.map((action) => {
      if (action.kind !== 'want') return action.kind;
      const view = seen.sandboxes[0] ?? ({} as SandboxView);
      const wish: Wish = action.wishOf(view);
      if (view.known || given.status?.runningTime !== undefined) expect(wish.mayStart).toBe(false);
      return wish.want;
    });
    expect(actions.join(' ')).toBe(told);
    const status = statusOf(seen, phase);
    const held = (status.conditions ?? [])
      .filter((condition) => condition.status === 'True')
      .map(({ type }) => type);
    expect(held.join(' ')).toBe(conditions);
    expect(JSON.stringify(statusOf({ ...seen, group: { ...seen.group, status } }, phase).conditions)).toBe(
      JSON.stringify(status.conditions),
    );
  });

  it('keeps the first verdict, whatever fails after it', () => {
    const first = seenOf({ facts: [failing, {}], status: ran });
    const status = statusOf(first, 'Ending');
    const second = seenOf({
      facts: [{ ...failing, failures: [{ ...rankEnd, waitStatus: 4 << 8 }] }, {}],
      status,
    });
    expect(statusOf(second, phaseOf(second)).exitSummary).toMatchObject({
      rank: 1,
      code: 3,
      reason: 'RankFailed',
    });
  });

  it('prefers a crash that is told of after an exit that follows from it', () => {
    const first = seenOf({ facts: [failing, {}], status: ran });
    const status = statusOf(first, 'Ending');
    const crash = { failures: [{ ...rankEnd, rank: 2, waitStatus: 11 }], failuresTotal: 1 };
    const second = seenOf({ facts: [failing, crash], status });
    const summary = { rank: 2, node: 'node2', signal: 'SIGSEGV', reason: 'RankSignaled' };
    expect(statusOf(second, phaseOf(second)).exitSummary).toMatchObject(summary);
  });

  it('names the rank that left others waiting, not those that wait', () => {
    const brokenFence = { fence: 1, rank: 2, message: 'rank 2 died in or before fence 1', atNs: 1 };
    const seen = seenOf({ facts: [{ brokenFence }, { ...ended, succeeded: '2-3' }], status: ran });
    expect(phaseOf(seen)).toBe('Ending');
    expect(statusOf(seen, 'Ending').exitSummary).toMatchObject({
      rank: 2,
      node: 'node2',
      code: 0,
      reason: 'RankFailed',
      message: 'rank 2 on node2 exited with 0 while other ranks wait for it in MPI',
    });
  });

  it('tells what a node does not allow', () => {
    const refused = { ...ended, state: 'Failed', succeeded: '', reason: 'NotAllowed', message: 'uid 0' };
    const seen = seenOf({ facts: [refused] });
    const status = statusOf(seen, phaseOf(seen));
    expect(status.exitSummary).toMatchObject({ reason: 'NotAllowed', node: 'node1' });
    expect(status.conditions?.find(({ type }) => type === 'Failed')?.reason).toBe('NotAllowed');
  });

  it('prefers what ranks did themselves to what was done to them, and says what could not start', () => {
    const byUs = { ...ended, failures: [{ ...rankEnd, waitStatus: 15, byUs: true }], failuresTotal: 1 };
    const unstarted = {
      ...ended,
      failures: [{ ...rankEnd, rank: 2, stage: 7, error: 2, message: 'exec /x: no such file' }],
      failuresTotal: 1,
    };
    const seen = seenOf({ facts: [byUs, unstarted] });
    const status = statusOf(seen, phaseOf(seen));
    expect(status.exitSummary).toMatchObject({
      rank: 2,
      node: 'node2',
      reason: 'StartFailed',
      message: 'rank 2 on node2 could not be started: exec /x: no such file',
    });
    expect(status.ranks).toMatchObject({ startFailed: 1, failed: 1 });
  });

  it('keeps nothing of the run that was stopped but the incarnation and what it used', () => {
    const seen = seenOf({ facts: [ended, endedToo], status: { ...vacating, nodeCount: 2, restarts: 0 } });
    const status = JSON.parse(JSON.stringify(statusOf(seen, 'Vacated'))) as ProcessGroupStatus;
    expect(status).toMatchObject({ phase: 'Suspended', incarnation: 1, ranks: { running: 0, succeeded: 0 } });
    for (const field of ['placement', 'nodeCount', 'startTime', 'runningTime', 'activeSince'])
      expect(status).not.toHaveProperty(field);
    const placing = {
      kind: 'placed',
      sandboxes: [{ ordinal: 0, node: 'a', ranks: '0', rankCount: 1 }],
    } as const;
    const resumed = statusOf(seenOf({ status, more: { placing } }), 'Placing');
    expect(resumed.placement).toMatchObject([{ incarnation: 2 }]);
  });

  it('counts wall time without suspended time', () => {
    const frozen = seenOf({ facts: [{ frozen: true }], status: ran, spec: { suspend: true } });
    const status = statusOf(frozen, 'Frozen');
    expect(status).toMatchObject({ activeSeconds: 600 });
    expect(status.activeSince).toBeUndefined();
    const later = seenOf({ facts: [{}], status, spec: { limits: { wallTimeSeconds: 700 } } });
    const resumed = statusOf({ ...later, nowMs: nowMs + 3_600_000 }, 'Running');
    expect(resumed).toMatchObject({ activeSeconds: 600, activeSince: '2026-01-01T01:10:00.000Z' });
  });

  it('warns once before the end of the wall time', () => {
    const spec: Partial<ProcessGroupSpec> = { limits: { wallTimeSeconds: 610, warningSeconds: 20 } };
    const seen = seenOf({ facts: [{}], status: ran, spec });
    expect(planOf(seen, 'Running').after.map(({ kind }) => kind)).toEqual(['want', 'warn']);
    const again = seenOf({ facts: [{}], status: statusOf(seen, 'Running', true), spec });
    expect(planOf(again, 'Running')).toMatchObject({ after: [{ kind: 'want' }], againAfterMs: 10_000 });
  });

  it('stays under 64 KiB at 4,096 nodes with many ways to fail', () => {
    const facts = Array.from({ length: 4096 }, (_, i) => ({
      ...ended,
      succeeded: '',
      failures: [0, 1].map((k) => ({
        ...rankEnd,
        rank: i * 2 + k,
        waitStatus: ((i * 7) % 256) << 8 || 9,
        message: 'm'.repeat(200),
      })),
      failuresTotal: 2,
    }));
    const seen = seenOf({ facts, status: ran });
    const mixed = seen.sandboxes.map((view, i) => ({
      ...view,
      node: `rack${(i * 37) % 64}-node${(i * 101) % 997}`,
    }));
    const placement = compressPlacement(mixed);
    const since = new Date(0).toISOString();
    const phases = Array.from({ length: mostPhases }, () => ({ phase: 'Suspending', since }) as const);
    const status = statusOf(
      { ...seen, sandboxes: mixed, group: { ...seen.group, status: { ...ran, placement, phases } } },
      'Ended',
    );
    expect(Buffer.byteLength(JSON.stringify(status))).toBeLessThan(64 * 1024);
  });

  it('tells each transition once', () => {
    const seen = seenOf({ facts: [{}], status: {} });
    const status = statusOf(seen, 'Running');
    expect(eventsOf({}, status).map(({ reason }) => reason)).toEqual(['Placed', 'RanksRunning']);
    expect(eventsOf(status, status)).toEqual([]);
  });
});

describe('specsOf', () => {
  const assignments = Array.from({ length: 20 }, (_, ordinal) => ({
    ordinal,
    incarnation: 1,
    node: `n${ordinal}`,
    ranks: `${ordinal * 2}-${ordinal * 2 + 1}`,
    rankCount: 2,
  }));
  const { group } = seenOf({
    facts: assignments.map(() => ({})),
    spec: {
      size: 40,
      processes: [
        { name: 'a', ranks: '0-38:2', command: ['x'], args: ['1'] },
        { name: 'b', ranks: '1-39:2', command: ['y'] },
      ],
      limits: { cpuTimeSeconds: 100, memory: '1Gi' },
      stdio: { stdout: 'Files', stdoutFile: '%g.%h.%r.%s.%%' },
      rlimits: [{ name: 'OpenFiles', hard: 'Unlimited', soft: 1024 }],
    },
  });

  it('gives each sandbox its own programs, share and place in the tree', () => {
    const specs = specsOf(group, assignments, undefined, 'c');
    const { spec } = specs[2]!;
    expect(spec.programs).toMatchObject([
      { name: 'a', ranks: '4', argv: ['x', '1'], appNumber: 0 },
      { name: 'b', ranks: '5', appNumber: 1 },
    ]);
    expect(spec).toMatchObject({
      cpuTimeLimitSeconds: 5,
      memoryLimitBytes: 2 ** 30,
      stdoutPattern: '%j.%n.%r.40.%%',
      pmi: 'PMI1',
      umask: 0o22,
    });
    expect(spec.rlimits).toEqual([{ name: 'NOFILE', soft: 1024, hard: 2 ** 64 }]);
    const parents = specs.map((each) => each.spec.tree?.parent);
    expect(parents).toEqual([
      0,
      ...Array<number>(8).fill(0),
      ...Array<number>(8).fill(1),
      ...Array<number>(3).fill(2),
    ]);
    specs.forEach(({ spec: own }) => {
      for (const child of own.tree?.children ?? []) expect(parents[child.ordinal!]).toBe(own.id.ordinal);
    });
  });

  it('never takes root by default', () => {
    expect(identityOf(group)).toMatchObject({ uid: 65534, gid: 65534 });
    const mapped = {
      ...group,
      metadata: { ...group.metadata, annotations: { [annotations.submittedUid.name]: '1000:100' } },
    };
    expect(identityOf(mapped)).toMatchObject({ uid: 1000, gid: 100, groupsFromNode: true });
    expect(
      identityOf({ ...mapped, spec: { ...group.spec, securityContext: { runAsUser: 7 } } }),
    ).toMatchObject({ uid: 7, gid: 7 });
  });
});
