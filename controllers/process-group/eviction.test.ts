import { expect, it } from 'vitest';
import type { Checkpoint, ProcessGroup, ProcessGroupSpec } from '../../crds/types.gen.ts';
import type { SandboxFact } from '../../wire/agent-types.ts';
import { phaseOf } from './phase.ts';
import { planOf } from './plan.ts';
import type { SandboxView, Seen } from './seen.ts';
import { nothingElse } from './test-seen.ts';
import { verdictOf } from './verdict.ts';

interface Case {
  readonly spec?: Partial<ProcessGroupSpec>;
  readonly step?: 'Dumping' | 'Ready' | 'Failed';
  readonly hasRun?: boolean;
  /** Of the second of two sandboxes. */
  readonly other?: Partial<SandboxView>;
}

const goesBack: Partial<ProcessGroupSpec> = {
  suspendPolicy: 'Stop',
  failurePolicy: { node: 'RestoreLatestCheckpoint' },
};

function seenOf({ spec = {}, step, hasRun = true, other = {} }: Case): Seen {
  const group = {
    metadata: { name: 'g', uid: 'u' },
    spec: { size: 2, suspendPolicy: 'Checkpoint', template: {}, ...spec },
    status: hasRun ? { runningTime: '2026-01-01T00:00:00Z' } : {},
  } as unknown as ProcessGroup;
  const conditions = step === 'Failed' ? [{ type: 'Failed', status: 'True', reason: 'DumpFailed' }] : [];
  const saving = step && ({ metadata: { name: 's' }, status: { step, conditions } } as unknown as Checkpoint);
  const fact = {
    state: 'Running',
    failures: [],
    succeeded: '',
    abort: null,
    brokenFence: null,
  } as unknown as SandboxFact;
  const viewOf = (ordinal: number, more: Partial<SandboxView>): SandboxView => ({
    node: `node${ordinal}`, ordinal, incarnation: 1, ranks: `${ordinal}`, rankCount: 1, standing: 'Connected', state: 'Live',
    known: { fact, failureOrder: undefined }, loss: undefined, forgotten: false, ...more,
  }); // prettier-ignore
  const leaving = { carrierLoss: 'carrier Pod g-1-0 was deleted', carrierLeaves: true };
  return {
    ...nothingElse,
    nowMs: 0,
    group,
    sandboxes: [viewOf(0, leaving), viewOf(1, other)],
    saving,
  };
}

it.each<[string, Case, string]>([
  ['is saved while its Pod may still run', {}, 'Saving'],
  ['waits until all are saved', { step: 'Dumping' }, 'Saving'],
  ['leaves then, copied or not', { step: 'Ready' }, 'Vacating'],
  ['is lost when it cannot be saved', { step: 'Failed' }, 'Ending'],
  ['is lost when its ranks never ran', { hasRun: false }, 'Ending'],
  ['is lost with a Pod that is gone', { other: { carrierLoss: 'its carrier Pod is gone' } }, 'Ending'],
  ['is lost when it was not to be saved', { spec: { suspendPolicy: 'Stop' } }, 'Ending'],
  ['is lost with a node of which nothing is heard', { other: { standing: 'Lost' } }, 'Ending'],
  ['is saved where it is brought back after a loss', { spec: goesBack }, 'Saving'],
  ['goes back when it cannot be saved', { spec: goesBack, step: 'Failed' }, 'Restarting'],
  [
    'goes back with a Pod that is gone',
    { spec: goesBack, other: { carrierLoss: 'its carrier Pod is gone' } },
    'Restarting',
  ],
  [
    'begins anew by its policy',
    { spec: { suspendPolicy: 'Stop', failurePolicy: { node: 'Restart' } } },
    'Restarting',
  ],
])('a group whose Pod is evicted %s', (_what, options, phase) => {
  const seen = seenOf(options);
  expect(phaseOf(seen)).toBe(phase);
  expect(verdictOf(seen)?.reason).toBe(phase === 'Ending' ? 'CarrierLost' : undefined);
  const saves = planOf(seen, phaseOf(seen)).before.some(({ kind }) => kind === 'save');
  expect(saves).toBe(phase === 'Saving' && options.step === undefined);
});
