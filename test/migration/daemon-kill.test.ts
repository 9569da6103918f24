// Controllers and agents killed with SIGKILL at every step of the protocol's tables while ranks move between two nodes: they have moved,
// or run on as if nobody had asked; either way the ring's output is whole and it goes on, and the next migration succeeds.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, eventually, program } from '../e2e/cluster.ts';

const pointsFile = `/var/tmp/muster-fail-points-${String(process.pid)}`;
let cluster: Cluster;

beforeAll(async () => {
  criuProgram();
  writeFileSync(pointsFile, '');
  cluster = await Cluster.up({ agents: 2, env: { MUSTER_FAIL_POINTS: pointsFile } });
  await cluster.done([
    'run', '--detach', '--name', 'ring', '-n', '4', '--nodes', 'node1,node2',
    program('ring'), '--seconds', '600', '--report-every', '20', '--bytes', '4096',
  ]); // prettier-ignore
  await eventually(
    async () => (await cluster.done(['logs', 'ring'])).length > 100,
    'output',
    undefined,
    40_000,
  );
});

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  rmSync(pointsFile, { force: true });
});

interface Made {
  readonly phase?: string;
  readonly conditions?: readonly { type: string; status: string; reason: string; message: string }[];
}

let made = 0;
/** Where the first sandbox is. */
let here = 'node1';
const other = (): string => (here === 'node1' ? 'node2' : 'node1');

/** Its ranks go to the other node, while somebody is killed at each of these points; how it ended. */
async function killedAt(...points: string[]): Promise<string> {
  const name = `at-${String(++made)}`;
  writeFileSync(pointsFile, points.map((point) => `${point}\n`).join(''));
  const manifest = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'Migration',
    metadata: { name },
    spec: { processGroupName: 'ring', ranks: '0-1', to: other(), deadlineSeconds: 60 },
  };
  await eventually(
    async () => (await cluster.muster(['apply', '-f', '-'], { stdin: JSON.stringify(manifest) })).code === 0,
    `${name} to be asked for`,
  );
  let last: Made = {};
  const ends = ['Completed', 'Failed'];
  await eventually(
    async () => {
      const shown = await cluster.muster(['get', 'mig', name, '-o', 'json']);
      if (shown.code !== 0) return false; // the controller is being started again
      last = (JSON.parse(shown.stdout) as { status?: Made }).status ?? {};
      return last.conditions?.some(({ type, status }) => ends.includes(type) && status === 'True') ?? false;
    },
    `the end of a migration in which somebody is killed at ${points.join(', ')}`,
    () => JSON.stringify(last),
    90_000,
  );
  // Whoever is killed at the last of them may be so only now.
  const left = (): string => readFileSync(pointsFile, 'utf8').trim();
  await eventually(() => left() === '', 'everybody to be killed', left);
  const ended = last.conditions?.find(({ type, status }) => status === 'True' && ends.includes(type));
  if (ended?.type === 'Completed') here = other();
  expect(await done(['ps', 'ring'])).toMatch(new RegExp(`^ring +0 +${here} `, 'm'));
  return ended?.type === 'Failed' ? ended.reason : 'Completed';
}

/** Also while the controller is being started again. */
async function done(args: readonly string[]): Promise<string> {
  let text = '';
  await eventually(
    async () => {
      const { code, stdout } = await cluster.muster(args);
      text = stdout;
      return code === 0;
    },
    `muster ${args.join(' ')}`,
  );
  return text;
}

/** Every iteration of rank 0 once and in order, so far; and it goes on. */
async function expectWhole(): Promise<void> {
  const read = async (): Promise<string[]> =>
    (await done(['logs', 'ring', '-r', '0', '--no-label'])).trimEnd().split('\n');
  const before = (await read()).length;
  await eventually(async () => (await read()).length > before, 'the ring to go on');
  const lines = (await read()).filter((line) => line.startsWith('rank '));
  lines.forEach((line, at) => expect(line).toContain(`rank 0 iteration ${String(at * 20)} `));
}

describe('a controller, killed', () => {
  test('whenever a step is on record, or decided, goes on', async () => {
    const points = ['Preparing written', 'Preparing claimed', 'Copying decided', 'Copying written', 'Commit decided', 'Commit written', 'Switching written', 'Completed decided', 'Completed written']; // prettier-ignore
    expect(await killedAt(...points.map((point) => `move ${point}`))).toBe('Completed');
    await expectWhole();
  });

  test('at each step of giving up gives up', async () => {
    const points = ['Aborting decided', 'Aborting written', 'Aborting claimed', 'Failed written'];
    expect(await killedAt('leaver Leaving', ...points.map((point) => `move ${point}`))).not.toBe('Completed');
    await expectWhole();
  });
});

describe('the agent that is left, killed', () => {
  test('while its sandbox is looked at or dumped gives up', async () => {
    expect(await killedAt('leaver Preparing')).not.toBe('Completed');
    await expectWhole();
  });

  test('once its sandbox is prepared, or has left, goes on', async () => {
    expect(await killedAt('leaver Prepared', 'leaver Left')).toBe('Completed');
    await expectWhole();
  });
});

describe('the agent that is come to, killed', () => {
  test('while the sandbox is restored gives up, and the other lets it go on', async () => {
    expect(await killedAt('comer Placing', 'comer Refused')).not.toBe('Completed');
    await expectWhole();
  });

  test('at every other step goes on', async () => {
    expect(await killedAt('comer Preparing', 'comer Prepared', 'comer Placed', 'comer Running')).toBe(
      'Completed',
    );
    await expectWhole();
  });
});

test('after all of it ranks move as ever', async () => {
  expect(await killedAt()).toBe('Completed');
  await expectWhole();
});
