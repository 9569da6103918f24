/**
 * Jobs over several hosts that are saved at one cut and brought back: where they were, on others, on fewer, with agents and the
 * control plane killed in the middle. Each job says every iteration of its ring; what is missing, doubled or out of order shows.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { homeOf, processFileOf } from '../../cli/home.ts';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, programs } from './cluster.ts';
import { eventually } from './processes.ts';

/** Of groups that may go on elsewhere while nothing is known of a node. */
const leaseSeconds = 5;

let cluster: Cluster;
beforeAll(async () => {
  criuProgram();
  cluster = await Cluster.make([{}, {}, {}, {}], {}, { up: ['--node-lease', String(leaseSeconds)] });
});
afterEach(() => cluster.heal());
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

const ranks = 4;

/** Four ranks over two nodes. */
async function ring(name: string, nodes = 'node2,node3'): Promise<void> {
  const size = ['-n', String(ranks), '--ppn', '2', '--nodes', nodes];
  const args = ['--seconds', '3600', '--report-every', '1', '--bytes', '16384'];
  await cluster.succeed(['run', '--detach', '--name', name, ...size, `${programs}/ring`, ...args]);
  await eventually(async () => (await cluster.ringLines(name, 0)).length > 5, `${name} to say something`);
}

/** It runs on to the end that it is told, every iteration of every rank once, in order; it checks what it passes on itself. */
async function expectWhole(name: string): Promise<void> {
  const before = (await cluster.ringLines(name, 0)).length;
  await eventually(async () => (await cluster.ringLines(name, 0)).length > before + 10, `${name} to go on`);
  expect(await cluster.succeed(['signal', 'USR1', name, '-r', '0'])).toContain('reached 1 process');
  const { code, stderr } = await cluster.muster(['wait', name, '--timeout', '90']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  for (let rank = 0; rank < ranks; rank++) {
    const lines = await cluster.ringLines(name, rank);
    expect(lines.length).toBeGreaterThan(10);
    lines.forEach((line, at) => expect(line).toContain(`rank ${rank} iteration ${at} `));
  }
}

interface Shown {
  status?: {
    phase?: string;
    step?: string;
    conditions?: { type: string; status: string; message: string }[];
  };
}

async function checkpoint(name: string): Promise<Shown> {
  return JSON.parse(await cluster.succeed(['get', 'ckpt', name, '-o', 'json'])) as Shown;
}

const isTrue = ({ status }: Shown, type: string): boolean =>
  status?.conditions?.some((each) => each.type === type && each.status === 'True') ?? false;

it('is saved at one cut while it runs on, again and again', async () => {
  await ring('on');
  for (const name of ['on-1', 'on-2', 'on-3']) {
    expect(await cluster.succeed(['checkpoint', 'on', '--name', name])).toContain(
      `checkpoint/${name} ready: 4 ranks`,
    );
  }
  await eventually(async () => isTrue(await checkpoint('on-3'), 'Durable'), 'copies on other nodes');
  await expectWhole('on');
});

it('is suspended by a checkpoint, loses a node, and goes on on what is left', async () => {
  await ring('night');
  await cluster.succeed(['suspend', '--policy', 'checkpoint', 'night']);
  await eventually(
    async () => isTrue(await checkpoint('night-suspend-1'), 'Durable'),
    'copies on other nodes',
  );
  await cluster.agents.get('node2')!.end('SIGKILL');
  await cluster.succeed(['resume', 'night']);
  expect(await cluster.succeed(['ps', 'night'])).not.toContain('node2');
  await expectWhole('night');
});

it('is saved and ended, and goes on on two other nodes', async () => {
  await ring('here');
  await cluster.succeed(['checkpoint', 'here', '--stop', '--name', 'moved']);
  await eventually(async () => (await cluster.group('here')).status?.phase === 'Failed', 'the group to end');
  await cluster.succeed(['restart', 'moved', '--name', 'there', '--nodes', 'node1,node4']);
  await expectWhole('there');
});

it('goes back to its last checkpoint when it loses a node between prepare and commit of the next one', async () => {
  const points = `/var/tmp/muster-fail-points-hosts-${process.pid}`;
  await cluster.agents.get('node2')!.end();
  await cluster.startAgent(cluster.host('node2'), { MUSTER_FAIL_POINTS: points });
  const args = ['--seconds', '3600', '--report-every', '1', '--bytes', '16384'];
  const manifest = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name: 'back', namespace: 'default' },
    spec: {
      size: ranks,
      processes: [{ name: 'main', ranks: `0-${ranks - 1}`, command: [`${programs}/ring`, ...args] }],
      placement: { nodes: ['node2', 'node3'] },
      failurePolicy: { node: 'RestoreLatestCheckpoint' },
    },
  };
  const { code, stderr } = await cluster.muster(['apply', '-f', '-'], {
    input: Buffer.from(JSON.stringify(manifest)),
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  await eventually(async () => (await cluster.ringLines('back', 0)).length > 5, 'back to say something');
  await cluster.succeed(['checkpoint', 'back', '--name', 'back-1']);
  await eventually(async () => isTrue(await checkpoint('back-1'), 'Durable'), 'copies on other nodes');
  expect(await cluster.succeed(['ps', 'back'])).toContain('node2');
  // Its sandbox is dumped, and stands still; nobody ever hears of it.
  writeFileSync(points, 'member Dumped\n');
  await cluster.succeed(['checkpoint', 'back', '--name', 'back-2', '--no-wait']);
  await eventually(() => cluster.agents.get('node2')!.hasEnded(), 'the agent of node2 to be killed');
  await cluster.host('node2').link(false);
  rmSync(points);
  // A node is waited for for a minute before it counts as lost.
  const afterLostMs = 100_000;
  await eventually(
    async () => isTrue(await checkpoint('back-2'), 'Failed'),
    'the attempt to be given up',
    afterLostMs,
  );
  await eventually(
    async () => (await cluster.group('back')).status?.['restarts'] === 1,
    'the group to be started again',
    afterLostMs,
  );
  await expectWhole('back');
  expect(await cluster.succeed(['ps', 'back'])).not.toContain('node2');
}, 300_000);

it('runs on unharmed when agents or the controller are killed at any moment of a checkpoint', async () => {
  await ring('killed');
  const outcomes: string[] = [];
  for (const [round, delayMs] of [50, 150, 400].entries()) {
    const name = `killed-${round}`;
    await cluster.succeed(['checkpoint', 'killed', '--no-wait', '--name', name]);
    const until = performance.now() + delayMs;
    await eventually(() => performance.now() > until, 'a moment');
    if (round % 2 === 0) {
      const record = processFileOf(homeOf(cluster.front.home), 'controller');
      await cluster.front.sh(`kill -KILL "$(grep -o '"pid":[0-9]*' ${record} | cut -d: -f2)"`);
    } else {
      await cluster.agents.get('node3')!.end('SIGKILL');
      await cluster.startAgent(cluster.host('node3'));
    }
    await eventually(async () => {
      const { code, stdout } = await cluster.muster(['get', 'ckpt', name, '-o', 'json']);
      if (code !== 0) return false;
      const shown = JSON.parse(stdout.toString()) as Shown;
      if (!isTrue(shown, 'Ready') && !isTrue(shown, 'Failed')) return false;
      outcomes.push(isTrue(shown, 'Ready') ? 'Ready' : 'Failed');
      return true;
    }, `${name} to be ready or to have failed`);
  }
  expect(outcomes).toHaveLength(3);
  await expectWhole('killed');
});
