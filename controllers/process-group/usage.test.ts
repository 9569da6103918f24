import { expect, test } from 'vitest';
import type { ProcessGroupStatus } from '../../crds/types.gen.ts';
import type { SandboxFact } from '../../wire/agent-types.ts';
import type { SandboxView, Seen } from './seen.ts';
import { earlierUsage, usageOf } from './usage.ts';

const fact = (cpuUs: number, memoryBytes = 100) =>
  ({ cpuUs, userUs: cpuUs, systemUs: 0, readBytes: 512, writtenBytes: 0, memoryBytes, memoryPeakBytes: 200, logBytes: 9 }) as SandboxFact; // prettier-ignore

function seenOf(
  facts: readonly (SandboxFact | undefined)[],
  status: ProcessGroupStatus = {},
  nowMs = 0,
  incarnation = 1,
): Seen {
  const sandboxes = facts.map(
    (each) => ({ incarnation, known: each && { fact: each, failureOrder: undefined } }) as SandboxView,
  );
  return { group: { metadata: {}, spec: { size: 2 }, status }, sandboxes, nowMs } as unknown as Seen;
}

test('totals are of all sandboxes', () => {
  expect(usageOf(seenOf([fact(1_500_000), fact(500_000)]))).toEqual({
    cpuSeconds: 2, userSeconds: 2, systemSeconds: 0, readBytes: 1024, writtenBytes: 0,
    memoryBytes: 200, peakMemoryBytes: 400, maxMemoryBytes: 200, stdoutBytes: 18, moved: { incarnations: 2 },
  }); // prettier-ignore
});

test('totals stay when a node is not heard of, or its agent is new and has not measured yet', () => {
  const usage = usageOf(seenOf([fact(1_500_000), fact(500_000)]));
  expect(usageOf(seenOf([fact(1_600_000), undefined], { usage }))).toEqual(usage);
  expect(usageOf(seenOf([fact(0, 0), fact(0, 0)], { usage })).cpuSeconds).toBe(2);
  expect(usageOf(seenOf([fact(2_000_000), fact(600_000)], { usage })).cpuSeconds).toBe(2.6);
});

test('what a run used that is over stays counted', () => {
  const kept = earlierUsage(seenOf([fact(2_000_000)]))!;
  expect(kept).toMatchObject({ cpuSeconds: 2, memoryBytes: 0, earlier: { cpuSeconds: 2, readBytes: 512 } });
  expect(earlierUsage(seenOf([], { usage: kept }))).toEqual(kept);
  expect(usageOf(seenOf([fact(1_000_000)], { usage: kept }))).toMatchObject({
    cpuSeconds: 3,
    readBytes: 1024,
  });
});

test('efficiency is of one core a rank and of this run', () => {
  const activeSince = new Date(0).toISOString();
  expect(usageOf(seenOf([fact(10_000_000)], { activeSince }, 10_000)).efficiencyPercent).toBe(50);
  expect(usageOf(seenOf([fact(10_000_000)], { activeSince }, 500)).efficiencyPercent).toBeUndefined();
  const usage = { cpuSeconds: 7, earlier: { cpuSeconds: 7 } };
  expect(usageOf(seenOf([fact(5_000_000)], { activeSince, usage }, 10_000)).efficiencyPercent).toBe(25);
});

test('what a sandbox used before it was moved stays counted, and so does what it uses after', () => {
  const usage = usageOf(seenOf([fact(4_000_000), fact(2_000_000)]));
  const waiting = usageOf(seenOf([undefined, fact(2_500_000)], { usage }, 0, 2));
  expect(waiting).toMatchObject({ cpuSeconds: 6, moved: { cpuSeconds: 3.5, incarnations: 4 } });
  const after = usageOf(seenOf([fact(1_000_000), fact(3_000_000)], { usage: waiting }, 0, 2));
  expect(after.cpuSeconds).toBe(7.5);
  expect(earlierUsage(seenOf([], { usage: after }))).not.toHaveProperty('moved');
});
