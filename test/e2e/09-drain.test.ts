/** Nodes that are cordoned, drained and given back, by the commands that people use, with the output of jobs to the byte. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../contract/eventually.ts';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, program } from './cluster.ts';

let cluster: Cluster;
let scratch: string;
beforeAll(async () => {
  criuProgram();
  scratch = mkdtempSync('/var/tmp/drain-');
  mkdirSync(join(scratch, 'checks'), { mode: 0o755 });
  writeFileSync(
    join(scratch, 'checks/whole'),
    `#!/bin/sh\ntest ! -e ${scratch}/broken || { echo it broke; exit 1; }\n`,
  );
  chmodSync(join(scratch, 'checks/whole'), 0o755);
  writeFileSync(join(scratch, 'node.yaml'), `healthChecks: ${scratch}/checks\nownerFile: ${scratch}/owner\n`);
  cluster = await Cluster.up({ agents: 3, args: ['--node-config', join(scratch, 'node.yaml')] });
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  rmSync(scratch, { recursive: true, force: true });
});

/** A ring that says each of its iterations, on this node, though it may be on others. */
async function ring(name: string, node: string): Promise<void> {
  const others = ['node1', 'node2', 'node3'].filter((each) => each !== node);
  await cluster.done(['cordon', ...others]);
  const args = ['--seconds', '600', '--report-every', '1', '--bytes', '4096'];
  await cluster.done(['run', '--detach', '--name', name, '-n', '2', program('ring'), ...args]);
  await eventually(async () => expect((await cluster.done(['logs', name])).length).toBeGreaterThan(100));
  expect(await nodesOf(name)).toBe(node);
  await cluster.done(['uncordon', ...others]);
}

/** It runs on where it has to be: after this, more is heard of it, and all in order. Then nobody waits for its end. */
async function expectOn(name: string): Promise<void> {
  const before = (await cluster.done(['logs', name])).length;
  await eventually(
    async () => expect((await cluster.done(['logs', name])).length).toBeGreaterThan(before),
    40_000,
  );
  await cluster.done(['kill', '--now', name]);
  await cluster.wait(name, 'Finished');
  await expectInOrder(name);
}

/** Every iteration once, in order, from the first one on. */
async function expectInOrder(name: string): Promise<void> {
  for (const rank of [0, 1]) {
    const text = await cluster.done(['logs', name, '-r', String(rank), '--no-label']);
    const lines = text
      .slice(0, text.lastIndexOf('\n'))
      .split('\n')
      .filter((line) => line.startsWith('rank '));
    lines.forEach((line, at) => expect(line).toContain(`rank ${rank} iteration ${at} `));
    expect(lines.length).toBeGreaterThan(10);
  }
}

/** Without a chance to say goodbye; it is started again by itself. */
function killController(): void {
  const file = join(cluster.home, 'run/controller.pid.json');
  process.kill((JSON.parse(readFileSync(file, 'utf8')) as { pid: number }).pid, 'SIGKILL');
}

/** As the administrator of a node would. */
async function specify(name: string, spec: object): Promise<void> {
  const monitor = { apiVersion: 'muster.dev/v1alpha1', kind: 'NodeMonitor', metadata: { name }, spec };
  expect(await cluster.apply(JSON.stringify(monitor))).toMatchObject({ code: 0, stderr: '' });
}

const nodesOf = async (name: string): Promise<string | undefined> =>
  (await cluster.get('pg', name)).status?.placement?.map(({ nodes }) => nodes).join(',');
const conditionOf = async (node: string, type: string) =>
  (await cluster.get('nm', node)).status?.conditions?.find((each) => each.type === type);
const phaseOf = async (node: string) => (await cluster.get('nm', node)).status?.phase;

describe('a cordon', () => {
  test('keeps new jobs away, says so to those that name the node, and is taken back', async () => {
    expect(await cluster.done(['cordon', 'node1'])).toBe('nodemonitor/node1 cordoned\n');
    expect(await cluster.done(['nodes'])).toMatch(/^node1 +Cordoned +true /m);
    await cluster.done(['run', '-d', '--name', 'named', '-n', '1', '--nodes', 'node1', 'sleep', '60']);
    await eventually(async () =>
      expect(await cluster.condition('named', 'Placed')).toMatchObject({
        status: 'False',
        reason: 'NodeCordoned',
        message: 'spec.placement.nodes: node1 is cordoned (muster uncordon node1)',
      }),
    );
    expect(await cluster.done(['run', '-n', '1', 'sh', '-c', 'echo $MUSTER_NODE'])).not.toContain('node1');
    expect(await cluster.done(['uncordon', 'node1'])).toBe('nodemonitor/node1 uncordoned\n');
    await cluster.wait('named', 'Running');
    await cluster.done(['delete', 'pg', 'named']);
  });

  test('of a node that is not there, or a policy that is none, is refused', async () => {
    expect(await cluster.muster(['cordon', 'nowhere'])).toMatchObject({ code: 1 });
    const odd = await cluster.muster(['drain', 'node1', '--policy', 'gently']);
    expect(odd).toMatchObject({ code: 2 });
    expect(odd.stderr).toContain('expected Migrate, Checkpoint, Suspend, Kill');
  });
});

describe('a drain', () => {
  test('by Checkpoint has a job go on elsewhere, whole', async () => {
    await ring('leaves', 'node1');
    const drained = await cluster.muster(['drain', 'node1', '--policy', 'checkpoint']);
    expect(drained).toMatchObject({ code: 0, stderr: '', stdout: 'nodemonitor/node1 drained\n' });
    expect(await phaseOf('node1')).toBe('Drained');
    expect(await conditionOf('node1', 'Drained')).toMatchObject({ status: 'True' });
    await eventually(async () => expect(await nodesOf('leaves')).toMatch(/^node[23]$/));
    expect((await cluster.get('pg', 'leaves')).status).not.toHaveProperty('holds');
    await expectOn('leaves');
    await cluster.done(['uncordon', 'node1']);
    expect(await conditionOf('node1', 'Drained')).toMatchObject({ status: 'False', reason: 'NotDraining' });
  });

  test('by Suspend keeps a job suspended until it is taken back, whoever is killed meanwhile', async () => {
    await ring('waits', 'node2');
    await cluster.done(['drain', 'node2', '--policy', 'Suspend', '--no-wait']);
    killController();
    await eventually(async () => expect(await phaseOf('node2').catch(() => 'away')).toBe('Drained'), 40_000);
    expect(await cluster.done(['drain', 'node2'])).toBe('nodemonitor/node2 drained\n');
    expect(await cluster.condition('waits', 'Suspended')).toMatchObject({
      status: 'True',
      reason: 'Vacated',
    });
    expect((await cluster.get('pg', 'waits')).status).toMatchObject({
      holds: [{ name: 'Drain', reason: 'NodeDrained', nodes: 'node2' }],
    });
    const resumed = await cluster.muster(['resume', 'waits']);
    expect(resumed).toMatchObject({ code: 1 });
    expect(resumed.stderr).toContain('Drain holds it: node2 is being drained, policy Suspend');
    await cluster.done(['uncordon', 'node2']);
    await expectOn('waits');
  });

  test('that is taken back in the middle leaves the job where it is', async () => {
    await ring('stays', 'node3');
    await cluster.done(['drain', 'node3', '--policy', 'Checkpoint', '--no-wait']);
    await cluster.done(['uncordon', 'node3']);
    await expectOn('stays');
  });

  test('stops nobody who could not be brought back, says why, and goes on when that has changed', async () => {
    await ring('cannot', 'node1');
    await cluster.done(['drain', 'node2', 'node3', '--policy', 'Checkpoint']);
    const drained = await cluster.muster(['drain', 'node1', '--policy', 'Checkpoint']);
    expect(drained).toMatchObject({ code: 1 });
    expect(drained.stderr).toContain('default/cannot cannot leave: no other node can keep');
    expect(await phaseOf('node1')).toBe('Draining');
    expect(await cluster.condition('cannot', 'Running')).toMatchObject({ status: 'True' });
    await cluster.done(['uncordon', 'node2', 'node3']);
    await eventually(async () => expect(await phaseOf('node1')).toBe('Drained'), 40_000);
    await expectOn('cannot');
    await cluster.done(['uncordon', 'node1']);
  });

  test('follows from a health check that fails, and ends when it passes again', async () => {
    const check = { name: 'whole', intervalSeconds: 1, failureThreshold: 2, action: 'Drain' };
    const spec = { intervalSeconds: 1, healthChecks: [check], drain: { policy: 'Checkpoint' } };
    await specify('node3', spec);
    await ring('ill', 'node3');
    writeFileSync(join(scratch, 'broken'), '');
    await eventually(async () => expect(await phaseOf('node3')).toBe('Drained'), 40_000);
    expect((await conditionOf('node3', 'Draining'))?.message).toContain(
      'policy Checkpoint: its health check whole fails: exit code 1: it broke (until it passes)',
    );
    await eventually(async () => expect(await nodesOf('ill')).toMatch(/^node[12]$/));
    rmSync(join(scratch, 'broken'));
    await eventually(async () => expect(await phaseOf('node3')).toBe('Ready'), 40_000);
    await expectOn('ill');
  });

  test('gives a workstation back to its owner, and takes it again when he has gone', async () => {
    await specify('node2', { intervalSeconds: 1, ownerReclaim: { idleSeconds: 1 } });
    await ring('guest', 'node2');
    writeFileSync(join(scratch, 'owner'), '');
    await eventually(async () => expect(await phaseOf('node2')).toBe('Drained'), 40_000);
    expect((await conditionOf('node2', 'Drained'))?.message).toContain('policy Suspend: its owner uses it');
    expect(await cluster.condition('guest', 'Suspended')).toMatchObject({
      status: 'True',
      reason: 'Vacated',
    });
    rmSync(join(scratch, 'owner'));
    await expectOn('guest');
    await specify('node2', { intervalSeconds: 1 });
  });

  test('by Kill ends jobs, says at whose word, and takes no images with it', async () => {
    await cluster.done(['run', '-d', '--name', 'doomed', '-n', '1', '--nodes', 'node1', 'sleep', '600']);
    await cluster.wait('doomed', 'Running');
    await cluster.done(['checkpoint', 'doomed', '--copies', '1', '--name', 'only']);
    expect((await cluster.get('ckpt', 'only')).status).toMatchObject({ nodes: 'node1' });
    await cluster.done(['drain', 'node1', '--policy', 'Kill']);
    expect(await cluster.wait('doomed', 'Finished')).toMatchObject({ code: 1 });
    expect(await cluster.condition('doomed', 'Failed')).toMatchObject({ reason: 'NodeDrained' });
    await eventually(async () =>
      expect((await cluster.get('ckpt', 'only')).status).toHaveProperty(
        'nodes',
        expect.stringMatching(/node\[1[-,]\d\]/),
      ),
    );
    await eventually(async () =>
      expect(await cluster.done(['describe', 'nm', 'node1'])).toMatch(
        /Drained .*nothing of any group is left/,
      ),
    );
    await cluster.done(['uncordon', 'node1']);
    await cluster.done(['drain', 'node1']);
    expect((await cluster.get('nm', 'node1')).spec).toMatchObject({ drain: { policy: 'Migrate' } });
    await cluster.done(['uncordon', 'node1']);
  });
});
