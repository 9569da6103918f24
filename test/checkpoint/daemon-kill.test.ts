// Controllers and agents killed with SIGKILL at every step of the protocol's tables, of a job of two nodes: it is saved, or runs
// on as if nobody had asked; either way its output is whole, and the next checkpoint succeeds.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cutTable, memberTable } from '../../wire/checkpoint-protocol.ts';
import { KilledRing } from '../e2e/killed-ring.ts';

let ring: KilledRing;
beforeAll(async () => {
  ring = await KilledRing.up();
});
afterAll(async () => {
  await ring?.[Symbol.asyncDispose]();
});

let made = 0;

/** A checkpoint while which somebody is killed at each of these points; how it ended. */
async function killedAt(...points: string[]): Promise<string> {
  const spec = { processGroupName: 'ring', copies: 1, deadlineSeconds: 60 };
  const name = `at-${String(++made)}`;
  const asked = { kind: 'Checkpoint', name, spec, ends: ['Ready', 'Failed'] };
  const { type, reason } = await ring.killedAt(points, asked);
  await ring.done(['delete', 'ckpt', name]);
  return type === 'Failed' ? reason : 'Ready';
}

const cutStates = new Set(
  Object.values(cutTable.rows).flatMap((row) => Object.values(row).map(([to]) => to as string)),
);
const failing = new Set(['Aborting', 'Failed']);

describe('a controller goes on', () => {
  test('killed whenever a step is on record and nobody has been told', async () => {
    const points = [...cutStates]
      .filter((state) => !failing.has(state))
      .map((state) => `cut ${state} written`);
    expect(await killedAt(...points)).toBe('Ready');
    await ring.expectWhole();
  });

  test('killed before a step is on record, and once agents are told', async () => {
    expect(await killedAt('cut Dumping told', 'cut Committing decided', 'cut Saving told')).toBe('Ready');
    await ring.expectWhole();
  });

  test('killed at each step of giving up', async () => {
    const points = [...failing].map((state) => `cut ${state} written`);
    expect(await killedAt('member Prepared', ...points)).toBe('DumpFailed');
    await ring.expectWhole();
  });
});

describe('an agent, killed', () => {
  for (const state of Object.keys(memberTable.rows)) {
    if (state === 'Idle' || state === 'Prepared' || state.endsWith('Held')) continue;
    const isSafe = state === 'Committed' || state === 'Saved';
    test(`when its sandbox is ${state}, ${isSafe ? 'goes on' : 'gives up, and the other does too'}`, async () => {
      const points = state === 'Aborted' ? ['member Dumped', 'member Aborted'] : [`member ${state}`];
      expect(await killedAt(...points)).toBe(isSafe ? 'Ready' : 'DumpFailed');
      await ring.expectWhole();
    });
  }
});

test('after all of it, the job comes to its end', async () => {
  await ring.cluster.done(['checkpoint', 'ring', '--name', 'last', '--stop']);
  await ring.cluster.wait('ring', 'Finished');
  const ends = readFileSync(join(ring.cluster.home, 'logs', 'controller.log'), 'utf8');
  expect(ends).toContain('checkpoint goes on');
});
