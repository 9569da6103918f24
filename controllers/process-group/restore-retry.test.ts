import { expect, test } from 'vitest';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { phaseOf } from './phase.ts';
import { failureText, isRetried, newFailures, withFailures } from './restore-retry.ts';
import type { SandboxView, Seen } from './seen.ts';
import { statusOf } from './status.ts';
import { verdictOf } from './verdict.ts';

const restore = { checkpointName: 'c', checkpointUid: 'cu', manifestDigest: 'd' };
const fact = {
  id: null, state: 'Failed', reason: 'ImageDamaged', message: 'pages-1.img is not what was written', ranksTotal: 2, ranksRunning: 0,
  succeeded: '', failures: [], failuresTotal: 0, abort: null, brokenFence: null, limitExceeded: '', oomKills: 0, forksRefused: 0,
}; // prettier-ignore

function seenOf(placing: 'placed' | 'waiting', more: object = {}): Seen {
  const group = {
    metadata: { name: 'g', uid: 'u' },
    spec: { size: 2, restoreFrom: { checkpointName: 'c' } },
    status: { restore, incarnation: 0, ...more },
  } as unknown as ProcessGroup;
  const view = {
    node: 'node1', ordinal: 0, incarnation: 1, ranks: '0-1', rankCount: 2, standing: 'Connected', state: 'Over',
    known: { fact, failureOrder: 1 }, loss: undefined, forgotten: false,
  } as unknown as SandboxView; // prettier-ignore
  const failures = newFailures(group, [view]);
  const retry = failures.length === 0 ? undefined : { failures, placing: { kind: placing } };
  return {
    nowMs: 0, group, sandboxes: [view], network: 'Host', networkClaim: undefined, carriers: undefined, placing: undefined, invalid: [],
    unsupported: [], clientLeaseLeftMs: undefined, endRequest: undefined, restore: undefined, retry, lastCheckpoint: undefined,
    policyCheckpoints: [], saving: undefined, removedForMs: undefined,
  } as unknown as Seen; // prettier-ignore
}

const clearing = {
  conditions: [
    { type: 'Running', status: 'False', reason: 'Restarting', message: '', lastTransitionTime: '' },
  ],
};

test('what one node could not bring back is tried on another, and nothing is lost meanwhile', () => {
  const first = seenOf('placed');
  expect(isRetried(first)).toBe(true);
  expect(verdictOf(first)).toBeUndefined();
  expect(phaseOf(first)).toBe('Restarting');
  const second = seenOf('placed', clearing);
  expect(phaseOf(second)).toBe('Restarted');
  const { restore: kept, placement, restarts } = statusOf(second, 'Restarted');
  expect(kept).toEqual({
    ...restore,
    failures: [{ node: 'node1', ordinal: 0, message: 'pages-1.img is not what was written' }],
  });
  expect(placement).toBeUndefined();
  expect(restarts).toBe(0);
});

test('what no other node can take fails with all that nodes have said', () => {
  const before = { node: 'node2', ordinal: 0, message: 'no room' };
  const last = seenOf('waiting', { restore: withFailures(restore, [before]) });
  expect(isRetried(last)).toBe(false);
  const verdict = verdictOf(last);
  expect(verdict?.reason).toBe('ImageDamaged');
  expect(verdict?.exit.message).toContain('pages-1.img is not what was written');
  expect(verdict?.exit.message).toContain(failureText([before]));
  expect(verdict?.exit.message).toContain('Checkpoint c is kept');
});

test('a group that has run, or began at its beginning, is not brought back elsewhere', () => {
  expect(seenOf('placed', { runningTime: '2026-01-01T00:00:00Z' }).retry).toBeUndefined();
  expect(seenOf('placed', { restore: undefined }).retry).toBeUndefined();
});
