/** A group under a lease that is suspended by a checkpoint: its image holds the times of a lease that is long over when it goes on. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { eventually } from '../contract/eventually.ts';
import { Cluster, program } from '../e2e/cluster.ts';

/** Its hard end comes a second later. */
const leaseSeconds = 4;
let cluster: Cluster;

beforeAll(async () => {
  criuProgram();
  cluster = await Cluster.up({ agents: 2, args: ['--node-lease', String(leaseSeconds)] });
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

const iterationsOf = async (name: string): Promise<string[]> => {
  const text = await cluster.done(['logs', name, '-r', '0', '--no-label']);
  return text.split('\n').filter((line) => line.startsWith('rank '));
};

test('goes on where it was, under a lease of its own, and every iteration is there once', async () => {
  const args = ['--seconds', '3600', '--report-every', '1', '--bytes', '4096'];
  const manifest = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name: 'ring' },
    spec: {
      size: 2,
      processes: [{ name: 'ring', ranks: '0-1', command: [program('ring'), ...args] }],
      placement: { nodes: ['node1'] },
      suspendPolicy: 'Checkpoint',
      failurePolicy: { node: 'Restart' },
    },
  };
  await cluster.apply(JSON.stringify(manifest));
  await eventually(async () => expect((await iterationsOf('ring')).length).toBeGreaterThan(10));
  await cluster.done(['suspend', 'ring']);
  const over = performance.now() + leaseSeconds * 1250 + 500;
  await eventually(() => expect(performance.now()).toBeGreaterThan(over));
  const before = (await iterationsOf('ring')).length;
  await cluster.done(['resume', 'ring']);
  await eventually(async () => expect((await iterationsOf('ring')).length).toBeGreaterThan(before + 10));
  await cluster.done(['signal', 'USR1', 'ring', '-r', '0']);
  expect(await cluster.wait('ring', 'Succeeded')).toMatchObject({ code: 0, stderr: '' });
  (await iterationsOf('ring')).forEach((line, at) => expect(line).toContain(`rank 0 iteration ${at} `));
  expect((await cluster.get('pg', 'ring')).status).toMatchObject({
    restarts: 0,
    nodeLeaseSeconds: leaseSeconds,
  });
});
