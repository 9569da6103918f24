/** A store that can no longer be read, under running jobs: nothing that runs may end because of it but by an administrator's word. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster, eventually, processesWithArgument } from './cluster.ts';

interface Unknown {
  readonly groupUid: string;
  readonly node: string;
  readonly connected: boolean;
  readonly ranksRunning: number;
}

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.up({ agents: 2 });
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** Starts a job on both nodes that runs until it is ended; gives its uid and the pids of its ranks. */
async function sleeper(name: string, seconds: string): Promise<{ uid: string; pids: number[] }> {
  await cluster.done([
    'run',
    '-n',
    '2',
    '--nodes',
    'node1,node2',
    '--detach',
    '--name',
    name,
    'sleep',
    seconds,
  ]);
  await cluster.wait(name, 'Running');
  const pids = processesWithArgument(seconds);
  expect(pids).toHaveLength(2);
  return { uid: (await cluster.get('pg', name)).metadata.uid, pids };
}

async function unknown(): Promise<Unknown[]> {
  const { code, stdout } = await cluster.muster(['ps', '--unknown', '-o', 'json']);
  return code === 0 ? (JSON.parse(stdout) as Unknown[]) : [];
}

const storeFiles = (): string[] =>
  readdirSync(join(cluster.home, 'store'))
    .filter((name) => /^(journal|snapshot)-\d+$/.test(name))
    .map((name) => join(cluster.home, 'store', name));

/** The supervisor starts it again. */
async function killController(): Promise<void> {
  const record = join(cluster.home, 'run', 'controller.pid.json');
  const pidOf = (): number => {
    try {
      return (JSON.parse(readFileSync(record, 'utf8')) as { pid: number }).pid;
    } catch {
      return 0;
    }
  };
  const before = pidOf();
  process.kill(before, 'SIGKILL');
  await eventually(() => pidOf() !== before && pidOf() !== 0, 'a new controller');
  const nodes = async (): Promise<boolean> => {
    const { code, stdout } = await cluster.muster(['nodes', '--output', 'json']);
    return code === 0 && stdout.includes('node2');
  };
  await eventually(nodes, 'a control plane that answers', () => cluster.logs());
}

async function doctorOnStore(): Promise<{ ok: boolean; message: string }> {
  const checks = JSON.parse((await cluster.muster(['doctor', '-o', 'json'])).stdout) as {
    name: string;
    ok: boolean;
    message: string;
  }[];
  return checks.find(({ name }) => name === 'store')!;
}

describe.each([
  ['overwritten', (file: string) => writeFileSync(file, 'not what was written here\n'), '86421'],
  ['removed', (file: string) => rmSync(file), '86422'],
])('all files of the store %s', (how, damage, seconds) => {
  test('ranks live on, are shown, and end by an order alone', async () => {
    expect((await doctorOnStore()).ok).toBe(true);
    const { uid, pids } = await sleeper(`lost-${how}`, seconds);
    for (const file of storeFiles()) damage(file);
    await killController();
    const own = async (): Promise<Unknown[]> => (await unknown()).filter(({ groupUid }) => groupUid === uid);
    const shown = async (): Promise<boolean> =>
      (await own()).filter(({ connected }) => connected).length === 2;
    await eventually(shown, 'both sandboxes shown as unknown', () => cluster.logs());
    for (const row of await own()) expect(row.ranksRunning).toBe(1);
    expect(await doctorOnStore()).toMatchObject({
      ok: false,
      message: expect.stringContaining('ps --unknown') as string,
    });

    // Not forgotten by the next life, which reads a store that is whole again.
    await killController();
    await eventually(shown, 'both sandboxes shown again', () => cluster.logs());
    expect(processesWithArgument(seconds)).toEqual(pids);

    // What is new runs as ever.
    const fresh = await cluster.run(['-n', '2', '--nodes', 'node1,node2', 'echo', 'hello']);
    expect(fresh).toMatchObject({ code: 0, stdout: 'hello\nhello\n' });
    expect(processesWithArgument(seconds)).toEqual(pids);

    expect((await cluster.muster(['kill', '--unknown'])).code).toBe(2);
    expect((await cluster.muster(['kill', '--unknown', 'no-such-uid'])).code).toBe(1);
    await cluster.done(['kill', '--unknown', uid]);
    await eventually(() => processesWithArgument(seconds).length === 0, 'the ranks ended');
    await eventually(async () => (await own()).length === 0, 'nothing unknown of it any more');
    expect((await doctorOnStore()).ok).toBe(false);
    await cluster.done(['kill', '--unknown', '--all']);
    await eventually(async () => (await unknown()).length === 0, 'nothing unknown any more');
    expect((await doctorOnStore()).ok).toBe(true);
    await killController();
    expect((await doctorOnStore()).ok).toBe(true);
  }, 120_000);
});
