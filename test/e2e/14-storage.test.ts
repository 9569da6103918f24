/** Images in a directory that nodes share: kept there alone, used from any node, gone with their Checkpoint; refused where others could write. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { eventually } from '../contract/eventually.ts';
import { Cluster } from './cluster.ts';

let cluster: Cluster;
let directory: string;
beforeAll(async () => {
  criuProgram();
  directory = mkdtempSync('/var/tmp/muster-storage-');
  for (const name of ['fast', 'open']) mkdirSync(join(directory, name), { mode: 0o700 });
  chmodSync(join(directory, 'open'), 0o777);
  const file = join(directory, 'node.yaml');
  writeFileSync(file, `storages: { fast: ${directory}/fast, open: ${directory}/open }\n`);
  cluster = await Cluster.up({ agents: 2, args: ['--node-config', file] });
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const script =
  'echo began $(date +%s.%N); i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.01; done';
const lines = async (name: string): Promise<string[]> =>
  (await cluster.done(['logs', name, '--no-label'])).trimEnd().split('\n');

test('an image is kept in the storage that was asked for, and used from any node', async () => {
  await cluster.done(['run', '--detach', '--name', 'job', '--nodes', 'node1', '/bin/bash', '-c', script]);
  await eventually(async () => expect((await lines('job')).length).toBeGreaterThan(10), 30_000);

  const nowhere = await cluster.muster(['checkpoint', 'job', '--storage', 'slow']);
  expect(nowhere).toMatchObject({ code: 1 });
  expect(nowhere.stderr).toContain('node node1 has no storage slow; it has fast, open');
  const unsafe = await cluster.muster(['checkpoint', 'job', '--storage', 'open']);
  expect(unsafe.stderr).toContain(
    `storage open cannot be used from node node1: others could write ${directory}/open`,
  );

  await cluster.done(['checkpoint', 'job', '--storage', 'fast', '--stop', '--name', 'kept']);
  const { metadata, status } = await cluster.get('ckpt', 'kept');
  expect(status).toMatchObject({ phase: 'Durable', storage: 'fast' });
  expect(readdirSync(join(directory, 'fast'))).toEqual([`${metadata.uid}-0`]);
  for (const node of ['node1', 'node2']) {
    const own = join(cluster.home, 'nodes', node, 'state/images');
    expect(existsSync(own) ? readdirSync(own) : []).toEqual([]);
  }

  await cluster.done(['restart', 'kept', '--name', 'again', '--nodes', 'node2']);
  expect((await cluster.wait('again', 'Succeeded')).stderr).toBe('');
  const all = await lines('again');
  expect(all.slice(1)).toEqual(Array.from({ length: 400 }, (_, at) => String(at)));
  expect(all[0]).toBe((await lines('job'))[0]);

  await cluster.done(['delete', 'ckpt', 'kept']);
  await eventually(() => expect(readdirSync(join(directory, 'fast'))).toEqual([]), 20_000);
});
