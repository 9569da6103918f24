// Controllers and agents killed with SIGKILL at every step of the protocol's tables while ranks move between two nodes: they have moved,
// or run on as if nobody had asked; either way the ring's output is whole and it goes on, and the next migration succeeds.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KilledRing } from '../e2e/killed-ring.ts';

let ring: KilledRing;
beforeAll(async () => {
  ring = await KilledRing.up();
});
afterAll(async () => {
  await ring?.[Symbol.asyncDispose]();
});

let made = 0;
/** Where the first sandbox is. */
let here = 'node1';
const other = (): string => (here === 'node1' ? 'node2' : 'node1');

/** Its ranks go to the other node, while somebody is killed at each of these points; how it ended. */
async function killedAt(...points: string[]): Promise<string> {
  const spec = { processGroupName: 'ring', ranks: '0-1', to: other(), deadlineSeconds: 60 };
  const name = `at-${String(++made)}`;
  const asked = { kind: 'Migration', name, spec, ends: ['Completed', 'Failed'] };
  const { type, reason, message } = await ring.killedAt(points, asked);
  if (type === 'Completed') here = other();
  expect(await ring.done(['ps', 'ring'])).toMatch(new RegExp(`^ring +0 +${here} `, 'm'));
  return type === 'Failed' ? `${reason}: ${message}` : 'Completed';
}

describe('a controller, killed', () => {
  test('whenever a step is on record, or decided, goes on', async () => {
    const points = ['Preparing written', 'Preparing claimed', 'Copying decided', 'Copying written', 'Commit decided', 'Commit written', 'Switching written', 'Completed decided', 'Completed written']; // prettier-ignore
    expect(await killedAt(...points.map((point) => `move ${point}`))).toBe('Completed');
    await ring.expectWhole();
  });

  test('at each step of giving up gives up', async () => {
    const points = ['Aborting decided', 'Aborting written', 'Aborting claimed', 'Failed written'];
    expect(await killedAt('leaver Leaving', ...points.map((point) => `move ${point}`))).not.toBe('Completed');
    await ring.expectWhole();
  });
});

describe('the agent that is left, killed', () => {
  test('while its sandbox is looked at or dumped gives up', async () => {
    expect(await killedAt('leaver Preparing')).not.toBe('Completed');
    await ring.expectWhole();
  });

  test('once its sandbox is prepared, or has left, goes on', async () => {
    expect(await killedAt('leaver Prepared', 'leaver Left')).toBe('Completed');
    await ring.expectWhole();
  });
});

describe('the agent that is come to, killed', () => {
  test('while the sandbox is restored gives up, and the other lets it go on', async () => {
    expect(await killedAt('comer Placing', 'comer Refused')).not.toBe('Completed');
    await ring.expectWhole();
  });

  test('at every other step goes on', async () => {
    expect(await killedAt('comer Preparing', 'comer Prepared', 'comer Placed', 'comer Running')).toBe(
      'Completed',
    );
    await ring.expectWhole();
  });
});

test('after all of it ranks move as ever', async () => {
  expect(await killedAt()).toBe('Completed');
  await ring.expectWhole();
});
