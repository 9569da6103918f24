// Controllers and agents killed with SIGKILL at every step of the protocol's tables, of a job of two nodes: it is saved, or runs
// on as if nobody had asked; either way its output is whole, and the next checkpoint succeeds.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cutTable, memberTable } from '../../wire/checkpoint-protocol.ts';
import { Cluster, eventually, program } from '../e2e/cluster.ts';
import { criuProgram } from '../criu/criu.ts';

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
  await eventually(async () => (await cluster.done(['logs', 'ring'])).length > 100, 'output');
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

/** A checkpoint while which somebody is killed at each of these points; how it ended. */
async function killedAt(...points: string[]): Promise<string> {
  const name = `at-${String(++made)}`;
  writeFileSync(pointsFile, points.map((point) => `${point}\n`).join(''));
  const manifest = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'Checkpoint',
    metadata: { name },
    spec: { processGroupName: 'ring', copies: 1, deadlineSeconds: 60 },
  };
  await cluster.done(['apply', '-f', '-'], { stdin: JSON.stringify(manifest) });
  let last: Made = {};
  await eventually(
    async () => {
      const shown = await cluster.muster(['get', 'ckpt', name, '-o', 'json']);
      if (shown.code !== 0) return false; // the controller is being started again
      last = (JSON.parse(shown.stdout) as { status?: Made }).status ?? {};
      return (
        last.conditions?.some(
          ({ type, status }) => ['Ready', 'Failed'].includes(type) && status === 'True',
        ) ?? false
      );
    },
    `the end of a checkpoint in which somebody is killed at ${points.join(', ')}`,
    () => JSON.stringify(last),
  );
  // Whoever is killed at the last of them may be so only now, and is started again.
  const left = (): string => readFileSync(pointsFile, 'utf8').trim();
  await eventually(() => left() === '', 'everybody to be killed', left);
  const deleted = async (): Promise<boolean> => (await cluster.muster(['delete', 'ckpt', name])).code === 0;
  await eventually(deleted, `${name} to be deleted`);
  const ended = last.conditions?.find(
    ({ type, status }) => status === 'True' && ['Ready', 'Failed'].includes(type),
  );
  return ended?.type === 'Failed' ? ended.reason : 'Ready';
}

/** Every iteration of every rank once and in order, so far; and it goes on. */
async function expectWhole(): Promise<void> {
  const read = async (): Promise<string[]> => {
    let text = '';
    // Agents come back to a controller that was started again in a moment.
    const isThere = async (): Promise<boolean> => {
      const { code, stdout } = await cluster.muster(['logs', 'ring', '-r', '0', '--no-label']);
      text = stdout;
      return code === 0;
    };
    await eventually(isThere, 'the output');
    return text.trimEnd().split('\n');
  };
  const before = (await read()).length;
  await eventually(async () => (await read()).length > before, 'the ring to go on');
  const lines = (await read()).filter((line) => line.startsWith('rank '));
  lines.forEach((line, at) => expect(line).toContain(`rank 0 iteration ${String(at * 20)} `));
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
    await expectWhole();
  });

  test('killed before a step is on record, and once agents are told', async () => {
    expect(await killedAt('cut Dumping told', 'cut Committing decided', 'cut Saving told')).toBe('Ready');
    await expectWhole();
  });

  test('killed at each step of giving up', async () => {
    const points = [...failing].map((state) => `cut ${state} written`);
    expect(await killedAt('member Prepared', ...points)).toBe('DumpFailed');
    await expectWhole();
  });
});

describe('an agent, killed', () => {
  for (const state of Object.keys(memberTable.rows)) {
    if (state === 'Idle' || state === 'Prepared' || state.endsWith('Held')) continue;
    const isSafe = state === 'Committed' || state === 'Saved';
    test(`when its sandbox is ${state}, ${isSafe ? 'goes on' : 'gives up, and the other does too'}`, async () => {
      const points = state === 'Aborted' ? ['member Dumped', 'member Aborted'] : [`member ${state}`];
      expect(await killedAt(...points)).toBe(isSafe ? 'Ready' : 'DumpFailed');
      await expectWhole();
    });
  }
});

test('after all of it, the job comes to its end', async () => {
  await cluster.done(['checkpoint', 'ring', '--name', 'last', '--stop']);
  await cluster.wait('ring', 'Finished');
  const ends = readFileSync(join(cluster.home, 'logs', 'controller.log'), 'utf8');
  expect(ends).toContain('checkpoint goes on');
});
