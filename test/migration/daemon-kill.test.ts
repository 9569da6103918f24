// Controllers and agents killed with SIGKILL at every step of the protocol's tables while ranks move between two nodes: they have moved,
// or run on as if nobody had asked; either way the ring's output is whole and it goes on, and the next migration succeeds. And the
// processes killed that have pages which ranks miss elsewhere: then the group goes back to its last checkpoint.
import { existsSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually, program } from '../e2e/cluster.ts';
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

test('when pages are lost where ranks left the group goes back to its last checkpoint, and is told why', async () => {
  await ring.done(['kill', '--now', 'ring']);
  const args = ['--seconds', '600', '--report-every', '1', '--bytes', String(64 << 20)];
  const spec = {
    size: 2,
    processes: [{ name: 'main', ranks: '0-1', command: [program('ring'), ...args] }],
    placement: { nodes: ['node1', 'node2'] },
    failurePolicy: { node: 'RestoreLatestCheckpoint' },
  };
  const { cluster } = ring;
  const metadata = { name: 'pages' };
  const group = { apiVersion: 'muster.dev/v1alpha1', kind: 'ProcessGroup', metadata, spec };
  expect(await cluster.apply(JSON.stringify(group))).toMatchObject({ code: 0, stderr: '' });
  const lines = async (): Promise<string[]> =>
    (await ring.done(['logs', 'pages', '-r', '0', '--no-label'])).split('\n').slice(0, -1);
  await eventually(async () => (await lines()).length > 2, 'the job to say something');
  await ring.done(['checkpoint', 'pages']);
  const { uid } = (await cluster.get('pg', 'pages')).metadata;
  // The agent that has the pages gives none: it is killed as often as it comes back to them.
  const point = 'leaver Holding\n';
  ring.points = point.repeat(4);
  const asked = cluster.muster(['migrate', 'pages', '--from', 'node1', '--strategy', 'PostCopy']);
  await eventually(() => ring.points.length < point.length * 4, 'its agent to be killed');
  const left = cluster
    .cgroups()
    .filter((path) => path.includes(`${uid}-0-1`))
    .map((path) => `${path}/cgroup.kill`);
  for (const file of left.filter((each) => existsSync(each))) writeFileSync(file, '1');
  const { code, stderr } = await asked;
  ring.points = '';
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /PagesLost: node node2, sandbox 0: the ranks had moved, and \S+B of their memory were on node node1, which has lost them/,
  );
  const isBack = async (): Promise<boolean> =>
    (await cluster.get('pg', 'pages')).status?.restarts === 1 &&
    (await cluster.condition('pages', 'Running'))?.status === 'True';
  await eventually(isBack, 'the group to be brought back');
  const before = (await lines()).length;
  await eventually(async () => (await lines()).length > before, 'it to go on');
  (await lines()).forEach((line, at) => expect(line).toContain(`rank 0 iteration ${String(at)} `));
});
