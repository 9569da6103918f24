/** What checkpoint policies do by themselves, and what becomes of jobs whose images are not what was saved. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { eventually } from '../contract/eventually.ts';
import { Cluster } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  criuProgram();
  cluster = await Cluster.up({ agents: 2 });
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

/** Who goes on has the same first line; who begins again has another. */
const script = `echo began $(date +%s.%N); trap 'echo warned' USR1; i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done`;
const counted = Array.from({ length: 300 }, (_, at) => String(at));

async function start(name: string, more: object): Promise<void> {
  const group = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name },
    spec: {
      size: 1,
      processes: [{ name: 'count', ranks: '0', command: ['/bin/bash', '-c', script] }],
      placement: { nodes: ['node1'] },
      pmi: 'None',
      ...more,
    },
  };
  await cluster.done(['apply', '-f', '-'], { stdin: JSON.stringify(group) });
  await eventually(async () => expect((await lines(name)).length).toBeGreaterThan(10), 30_000);
}

const lines = async (name: string): Promise<string[]> =>
  (await cluster.done(['logs', name, '--no-label'])).trimEnd().split('\n');

/** It has gone on from where the other one was. */
async function expectWhole(name: string, after = name): Promise<void> {
  expect((await cluster.wait(name, 'Succeeded')).stderr).toBe('');
  const all = await lines(name);
  expect(all.filter((line) => /^\d+$/.test(line))).toEqual(counted);
  expect(all[0]).toBe((await lines(after))[0]);
}

interface Saved {
  readonly metadata: { name: string; uid: string; labels?: Record<string, string> };
  readonly spec: { processGroupName: string; then?: string };
  readonly status?: { phase?: string; nodes?: string; candidateNodes?: number };
}

async function savesOf(group: string): Promise<Saved[]> {
  const { items } = JSON.parse(await cluster.done(['get', 'ckpt', '-o', 'json'])) as { items: Saved[] };
  return items.filter(({ spec }) => spec.processGroupName === group);
}

test('a group that is frozen is saved as well, once for each suspension', async () => {
  await start('frozen', { checkpointPolicy: { onSuspend: true, copies: 1 } });
  await cluster.done(['suspend', 'frozen']);
  await eventually(async () =>
    expect((await savesOf('frozen')).map(({ status }) => status?.phase)).toEqual(['Ready']),
  );
  const [saved] = await savesOf('frozen');
  expect(saved?.status?.candidateNodes).toBe(2);
  const { metadata } = await cluster.get('pg', 'frozen');
  expect(metadata.annotations).toHaveProperty(['muster.dev/last-checkpoint']);
  expect(await cluster.condition('frozen', 'Suspended')).toMatchObject({ status: 'True', reason: 'Frozen' });
  expect(await cluster.done(['get', 'pg', 'frozen'])).toMatch(/^frozen +Suspended .* \d+s? +\d+s?\n/m);
  await cluster.done(['resume', 'frozen']);
  await expectWhole('frozen');
  // What was frozen can be gone back to.
  await cluster.done(['restart', saved?.metadata.name ?? '', '--name', 'thawed', '--nodes', 'node2']);
  expect(await cluster.done(['ps', 'thawed'])).toMatch(/^thawed +0 +node2 .* Running .* \/bin\/bash -c/m);
  await expectWhole('thawed', 'frozen');
});

test('before the wall time ends a group is warned, saved and ended, and goes on from there', async () => {
  await start('short', {
    limits: { wallTimeSeconds: 4, warningSeconds: 3 },
    checkpointPolicy: { beforeWallTime: true, copies: 1 },
  });
  expect(await cluster.wait('short', 'Finished')).toMatchObject({ code: 1 });
  const failed = await cluster.condition('short', 'Failed');
  expect(failed).toMatchObject({ reason: 'WallTimeExceeded' });
  const [saved] = await savesOf('short');
  const name = saved?.metadata.name ?? '';
  expect(failed?.message).toContain(`saved as Checkpoint ${name} and ended; muster restart ${name} goes on`);
  const before = await lines('short');
  expect(before.filter((line) => line === 'warned')).toEqual(['warned']);
  await cluster.done(['restart', name, '--name', 'longer']);
  await expectWhole('longer', 'short');
});

test('a damaged image is tried on every node, refused by name, and kept; what is whole again goes on', async () => {
  await start('hurt', {});
  await cluster.done(['checkpoint', 'hurt', '--name', 'hurt-1', '--stop', '--copies', '1']);
  const { metadata } = await cluster.get('ckpt', 'hurt-1');
  const directory = join(cluster.home, 'nodes/node1/state/images', `${metadata.uid}-0`);
  const [file = ''] = readdirSync(directory).filter((each) => each.startsWith('pages-'));
  const whole = readFileSync(join(directory, file));
  const flipped = Buffer.from(whole);
  flipped.writeUInt8(flipped.readUInt8(100) ^ 1, 100);
  writeFileSync(join(directory, file), flipped);
  const refused = await cluster.muster(['restart', 'hurt-1', '--name', 'gone']);
  expect(refused.code).toBe(1);
  expect(await cluster.wait('gone', 'Finished')).toMatchObject({ code: 1 });
  const { reason, message } = (await cluster.condition('gone', 'Failed')) ?? {};
  expect(reason).toBe('ImageDamaged');
  expect(message).toContain(`file ${file} is not what was written`);
  expect(message).toContain('Checkpoint hurt-1 is kept');
  writeFileSync(join(directory, file), whole);
  let tries = 0;
  await eventually(async () => {
    const again = await cluster.muster(['restart', 'hurt-1', '--name', `back-${String(++tries)}`]);
    expect(again.stderr).toBe('');
  }, 20_000);
  await expectWhole(`back-${String(tries)}`, 'hurt');
});
