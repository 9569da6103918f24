import { expect, test } from 'vitest';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import {
  finalCheckpointOf,
  finalDueInMs,
  finalNameOf,
  finalRequestOf,
  leadSecondsOf,
  putsOffEnd,
  unsavedText,
} from './final-checkpoint.ts';
import { isDueOnSuspend } from './checkpoint-policy.ts';
import type { Seen } from './seen.ts';

const nowMs = Date.parse('2026-01-01T01:00:00Z');
const made = (step: NonNullable<Checkpoint['status']>['step']): Checkpoint => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'Checkpoint',
  metadata: { name: 'g-walltime-1' },
  spec: { processGroupName: 'g' },
  status: { step: step ?? 'Waiting' },
});

function seenOf(wallTimeSeconds: number | undefined, ranSeconds: number, final?: Checkpoint): Seen {
  const group = {
    metadata: { name: 'g', uid: 'u' },
    spec: {
      limits: wallTimeSeconds === undefined ? {} : { wallTimeSeconds, warningSeconds: 20 },
      checkpointPolicy: { beforeWallTime: true },
    },
    status: { activeSince: new Date(nowMs - ranSeconds * 1000).toISOString() },
  };
  return { nowMs, group, final, sandboxes: [] } as unknown as Seen;
}

test('it is due half of the warning before the end, once', () => {
  expect(finalDueInMs(seenOf(100, 10))).toBe(80_000);
  expect(finalDueInMs(seenOf(100, 95))).toBe(0);
  expect(finalDueInMs(seenOf(100, 95, made('Waiting')))).toBeUndefined();
  expect(finalDueInMs(seenOf(undefined, 95))).toBeUndefined();
  expect(leadSecondsOf({ limits: { wallTimeSeconds: 40 } })).toBe(10);
  expect(leadSecondsOf({ limits: { wallTimeSeconds: 4000 } })).toBe(30);
});

test('the end is put off while ranks stand still for it, and comes when all is safe', () => {
  const off = ['Preparing', 'Dumping', 'Committing', 'Saving', 'Ready'] as const;
  for (const step of off) expect(putsOffEnd(seenOf(100, 100, made(step)))).toBe(true);
  for (const step of ['Waiting', 'Aborting', 'Failed'] as const)
    expect(putsOffEnd(seenOf(100, 100, made(step)))).toBe(false);
  expect(finalRequestOf(made('Saving'))).toBeUndefined();
  expect(finalRequestOf(made('Ready'))).toMatchObject({ kill: true, reason: 'WallTimeExceeded' });
});

test('why it was not saved is told', () => {
  const failed = made('Failed');
  const condition = {
    type: 'Failed',
    status: 'True',
    reason: 'DumpFailed',
    message: 'no room',
    lastTransitionTime: '',
  };
  const final = { ...failed, status: { ...failed.status, conditions: [condition] } } as Checkpoint;
  expect(unsavedText({ final })).toBe('; it could not be saved before: Checkpoint g-walltime-1: no room');
  expect(unsavedText({ final: undefined })).toBe('');
});

test('it ends the group, and has a name of its own for each run', () => {
  const { group } = seenOf(100, 0) as { group: ProcessGroup };
  expect(finalNameOf(group, 3)).toBe('g-walltime-3');
  expect(finalCheckpointOf(group, 'x')).toMatchObject({ metadata: { name: 'x' }, spec: { then: 'Stop' } });
});

test('a suspension has one checkpoint, whatever came of it', () => {
  const suspended = (created: string | undefined, status = 'True'): Seen =>
    ({
      group: {
        metadata: { name: 'g' },
        spec: { suspend: true, checkpointPolicy: { onSuspend: true } },
        status: {
          conditions: [
            {
              type: 'Suspended',
              status,
              reason: 'Frozen',
              message: '',
              lastTransitionTime: '2026-01-01T00:30:00Z',
            },
          ],
        },
      },
      policyCheckpoints: created === undefined ? [] : [{ metadata: { creationTimestamp: created } }],
    }) as unknown as Seen;
  expect(isDueOnSuspend(suspended(undefined))).toBe(true);
  expect(isDueOnSuspend(suspended('2026-01-01T00:29:00Z'))).toBe(true);
  expect(isDueOnSuspend(suspended('2026-01-01T00:30:00Z'))).toBe(false);
  expect(isDueOnSuspend(suspended(undefined, 'False'))).toBe(false);
});
