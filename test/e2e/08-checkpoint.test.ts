/** Jobs that are saved, suspended, ended and brought back, by the commands that people use, with output to the byte. */
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { eventually } from '../contract/eventually.ts';
import { Cluster, processesWithArgument, program } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  criuProgram();
  cluster = await Cluster.up({ agents: 2 });
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

/** A ring that says each of its iterations, on one node. */
async function ring(name: string): Promise<void> {
  const args = ['--seconds', '3600', '--report-every', '1', '--bytes', '4096'];
  await cluster.done([
    'run',
    '--detach',
    '--name',
    name,
    '-n',
    '2',
    '--nodes',
    'node1',
    program('ring'),
    ...args,
  ]);
  await eventually(async () => expect((await cluster.done(['logs', name])).length).toBeGreaterThan(100));
}

/** It runs on to the end that it is told: every iteration once, in order. */
async function expectWhole(name: string): Promise<void> {
  const said = async (): Promise<number> =>
    (await cluster.done(['logs', name, '-r', '0', '--no-label'])).split('\n').length;
  const before = await said();
  await eventually(async () => expect(await said()).toBeGreaterThan(before + 10));
  expect(await cluster.done(['signal', 'USR1', name, '-r', '0'])).toContain('reached 1 process');
  const waited = await cluster.wait(name, 'Succeeded');
  expect(waited.stderr).toBe('');
  for (const rank of [0, 1]) {
    const text = await cluster.done(['logs', name, '-r', String(rank), '--no-label']);
    const lines = text
      .trimEnd()
      .split('\n')
      .filter((line) => line.startsWith('rank '));
    lines.forEach((line, at) => expect(line).toContain(`rank ${rank} iteration ${at} `));
    expect(lines.length).toBeGreaterThan(10);
  }
}

const conditionOf = async (name: string, type: string) =>
  (await cluster.get('ckpt', name)).status?.conditions?.find((each) => each.type === type);

/** Images on the disks of the nodes. */
function imagesOf(uid: string): string[] {
  const nodes = join(cluster.home, 'nodes');
  return readdirSync(nodes).flatMap((node) => {
    const images = join(nodes, node, 'state', 'images');
    const names = existsSync(images) ? readdirSync(images) : [];
    return names.filter((name) => name.startsWith(uid)).map((name) => `${node}/${name}`);
  });
}

describe('a checkpoint', () => {
  test('is taken while the job runs on, copied to another node, listed, and deleted with its images', async () => {
    await ring('on');
    const made = await cluster.muster(['checkpoint', 'on', '--name', 'on-1']);
    expect(made.stderr).toBe('');
    expect(made.stdout).toMatch(
      /^checkpoint\/on-1 ready: 2 ranks, [\d.]+MiB, stood still for \d+ ms, 2 nodes can bring it back\n$/,
    );
    await eventually(async () =>
      expect(await conditionOf('on-1', 'Durable')).toMatchObject({ status: 'True', reason: 'Copied' }),
    );
    expect(await cluster.done(['checkpoints'])).toMatch(
      /^on-1 +Durable +on +[\d.]+Mi +True +\S+ +node\[1-2\] +\d+$/m,
    );
    const { metadata } = await cluster.get('ckpt', 'on-1');
    expect(imagesOf(metadata.uid)).toHaveLength(2);
    await cluster.done(['delete', 'ckpt', 'on-1']);
    await eventually(() => expect(imagesOf(metadata.uid)).toEqual([]));
    await expectWhole('on');
  });

  test('two of one group are taken one after the other', async () => {
    await ring('two');
    const both = await Promise.all(
      ['two-1', 'two-2'].map((name) =>
        cluster.muster(['checkpoint', 'two', '--name', name, '--copies', '1']),
      ),
    );
    expect(both.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      both.map(() => ({ code: 0, stderr: '' })),
    );
    await expectWhole('two');
  });

  test('of what does not run is refused with the reason', async () => {
    const none = await cluster.muster(['checkpoint', 'nobody', '--name', 'none']);
    expect(none).toMatchObject({ code: 1 });
    expect(none.stderr).toContain('GroupNotFound: there is no ProcessGroup nobody in the namespace');
    const over = await cluster.muster(['checkpoint', 'two', '--name', 'over']);
    expect(over).toMatchObject({ code: 1 });
    expect(over.stderr).toContain('GroupNotRunning: ProcessGroup two has ended');
  });
});

describe('a group', () => {
  test('is suspended by a checkpoint, gives back its node, and goes on where it was', async () => {
    await ring('night');
    await cluster.done(['suspend', '--policy', 'Checkpoint', 'night']);
    expect(await cluster.condition('night', 'Suspended')).toMatchObject({
      status: 'True',
      reason: 'Vacated',
    });
    expect(await cluster.condition('night', 'Placed')).toMatchObject({ status: 'False' });
    await eventually(() => expect(processesWithArgument(program('ring'))).toEqual([]));
    await cluster.done(['resume', 'night']);
    await expectWhole('night');
  });

  test('is saved and ended, and one made from that goes on on another node', async () => {
    await ring('here');
    await cluster.done(['checkpoint', 'here', '--stop', '--name', 'moved']);
    expect(await cluster.wait('here', 'Finished')).toMatchObject({ code: 1 });
    expect(await cluster.condition('here', 'Failed')).toMatchObject({ reason: 'Saved' });
    await cluster.done(['restart', 'moved', '--name', 'there', '--nodes', 'node2']);
    expect(await cluster.done(['ps', 'there'])).toMatch(/^there +0 +node2 /m);
    expect((await cluster.get('pg', 'there')).status).toHaveProperty('restore.checkpointName', 'moved');
    await expectWhole('there');
  });

  test('whose ranks save themselves is ended, and one made from that is started anew on another node', async () => {
    const directory = mkdtempSync('/var/tmp/muster-own-saves-');
    chmodSync(directory, 0o777);
    try {
      const [file, control] = [join(directory, 'steps'), join(directory, 'control')];
      writeFileSync(control, '');
      const group = {
        apiVersion: 'muster.dev/v1alpha1',
        kind: 'ProcessGroup',
        metadata: { name: 'own' },
        spec: {
          size: 2,
          processes: [{ name: 'main', ranks: '0-1', command: [program('saver'), file, control] }],
          placement: { nodes: ['node1'] },
          checkpointPolicy: { engine: 'Application' },
        },
      };
      await cluster.done(['apply', '-f', '-'], { stdin: JSON.stringify(group) });
      const steps = (): number => readFileSync(`${file}.1`, 'utf8').split('\n').length;
      await eventually(() => expect(steps()).toBeGreaterThan(10));
      const made = await cluster.done(['checkpoint', 'own', '--stop', '--name', 'own-1']);
      expect(made).toContain('checkpoint/own-1 ready: 2 ranks');
      expect((await cluster.get('ckpt', 'own-1')).status).toHaveProperty('engine', 'application 1');
      await cluster.done(['restart', 'own-1', '--name', 'own-again', '--nodes', 'node2']);
      const before = steps();
      await eventually(() => expect(steps()).toBeGreaterThan(before + 5));
      rmSync(control);
      expect((await cluster.wait('own-again', 'Succeeded')).stderr).toBe('');
      const text = await cluster.done(['logs', 'own-again', '-r', '1', '--no-label']);
      const lines = text.split('\n').filter((line) => line.startsWith('rank 1 step '));
      expect(lines.length).toBeGreaterThan(before);
      lines.forEach((line, at) => expect(line).toContain(`rank 1 step ${at} sum `));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('whose suspension is called off runs on', async () => {
    await ring('again');
    await cluster.done(['suspend', '--no-wait', '--policy', 'checkpoint', 'again']);
    await cluster.done(['resume', 'again']);
    await expectWhole('again');
  });

  test('that is to go on from what is not there waits and says so', async () => {
    const refused = await cluster.muster(['restart', 'nothing']);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain('"nothing" not found');
  });
});

test('a policy takes checkpoints by the clock, and keeps as many as it says', async () => {
  const group = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name: 'clock' },
    spec: {
      size: 2,
      processes: [
        {
          name: 'ring',
          ranks: '0-1',
          command: [program('ring'), '--seconds', '3600', '--report-every', '1'],
        },
      ],
      placement: { nodes: ['node1'] },
      checkpointPolicy: { interval: 1, keep: 1, copies: 1 },
    },
  };
  await cluster.done(['apply', '-f', '-'], { stdin: JSON.stringify(group) });
  const names = async (): Promise<string[]> =>
    (await cluster.done(['get', 'ckpt', '-o', 'name']))
      .split('\n')
      .filter((name) => name.includes('/clock-auto-'));
  let first: string | undefined;
  await eventually(async () => {
    [first] = await names();
    expect(first).toBeDefined();
  });
  await eventually(async () => expect(await names()).not.toContain(first), 20_000);
  const { status } = await cluster.get('pg', 'clock');
  expect(status).toHaveProperty('lastCheckpoint.time');
  await eventually(async () => {
    const { metadata } = await cluster.get('pg', 'clock');
    expect(metadata.annotations).toHaveProperty(
      ['muster.dev/last-checkpoint'],
      expect.stringMatching(/^\d{4}-.*Z$/),
    );
  });
  await expectWhole('clock');
});
