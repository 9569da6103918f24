// What a node cannot save, or not now: the reason is told, nothing of the attempt is left, and the ranks run on. An engine that
// is missing or too old may come later; files and connections follow what the group asks for.
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess } from '../agent/harness.ts';
import { eventually } from '../contract/eventually.ts';
import { criuProgram } from '../criu/criu.ts';
import { isolated, Scene, type Job, type OrderOptions } from './scene.ts';

let scene: Scene;
let shared: string;

beforeAll(async () => {
  scene = await Scene.start();
  shared = `${process.cwd()}/build/test-files-${String(process.pid)}`;
  mkdirSync(shared, { recursive: true });
  chmodSync(shared, 0o777);
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
  rmSync(shared, { recursive: true, force: true });
});

let attempts = 0;

/** The checkpoint's end, when it is no success; the sandbox runs again. */
async function refusalOf(job: Job, more: OrderOptions = {}): Promise<{ reason: string; message: string }> {
  const uid = `r${String(process.pid)}-${String(++attempts)}`;
  job.order(uid, 'Prepare', more);
  const now = () => (job.fact()?.checkpoint?.checkpointUid === uid ? job.fact()?.checkpoint : undefined);
  await job.hub.until(() => ['Prepared', 'Aborted'].includes(now()?.state ?? ''), 'an answer');
  if (now()?.state === 'Prepared') job.order(uid, 'Dump', more);
  await job.hub.until(() => ['Dumped', 'Aborted'].includes(now()?.state ?? ''), 'an answer');
  const { state = '', reason = '', message = '', held } = now() ?? {};
  expect({ state, held }).toEqual({ state: 'Aborted', held: false });
  return { reason, message };
}

const shell = (script: string): string[] => ['/bin/bash', '-ec', script];
const ticking = 'i=0; while [ $i -lt 400 ]; do echo $((i++)); sleep 0.01; done';

async function expectWhole(job: Job): Promise<void> {
  expect(await job.hub.ended(job.spec.id)).toMatchObject({ state: 'Ended', succeeded: '0' });
  const lines = (await job.output()).trimEnd().split('\n');
  expect(lines).toEqual(Array.from({ length: 400 }, (_, i) => String(i)));
}

test('a node without CRIU, or with one too old, says so; once there is one it is used', async () => {
  const program = `${scene.hub.directory}/criu`;
  await using agent = await AgentProcess.start(scene.hub, 'bare', { criu: program });
  const missing = () => scene.hub.nodes.get('bare')?.hello.missing.join('\n') ?? '';
  expect(missing()).toContain('checkpoint: there is no CRIU on this node');
  const job = await scene.run({ argv: shell(ticking) }, 'bare');
  expect(await refusalOf(job)).toMatchObject({
    reason: 'EngineMissing',
    message: expect.stringContaining(
      'node bare: there is no CRIU on this node: "make setup" brings one',
    ) as string,
  });
  // Answers as CRIU 3.17 does: type VERSION, success, version 3.17.
  const answer = String.raw`\010\012\020\001\122\004\010\003\020\021`;
  writeFileSync(program, `#!/bin/sh\ndd bs=4096 count=1 <&3 >/dev/null 2>&1\nprintf '${answer}' >&3\n`);
  chmodSync(program, 0o755);
  expect((await refusalOf(job)).message).toContain('CRIU 3.17 is too old, 4.2 or later is needed');
  rmSync(program);
  symlinkSync(criuProgram(), program);
  const { fact } = await job.save();
  expect(fact.engine).toMatch(/^criu [4-9]/);
  await eventually(() => expect(missing()).not.toContain('checkpoint:'));
  await expectWhole(job);
  expect(agent.log).toContain('what the node can do has changed');
});

test('a full disk fails the dump, and the ranks run on', async () => {
  const state = `${scene.hub.directory}/small`;
  mkdirSync(`${state}/sandboxes`, { recursive: true });
  await using agent = await AgentProcess.start(scene.hub, 'small', {
    criu: criuProgram(),
    mounts: `mount -t tmpfs -o size=64m none ${state}`,
  });
  const job = await scene.run({ argv: shell(ticking) }, 'small');
  job.order('full', 'Prepare');
  await job.reached('full', 'Prepared');
  const inside = `/proc/${String(agent.pid)}/root${state}`;
  expect(() => appendFileSync(`${inside}/filler`, Buffer.alloc(80 << 20))).toThrow('ENOSPC');
  job.order('full', 'Dump');
  await expect(job.reached('full', 'Dumped')).rejects.toThrow('StorageFull');
  await job.hub.until(() => job.fact()?.checkpoint?.held === false, 'it to run again');
  expect(existsSync(`${inside}/images/full-0`)).toBe(false);
  // Found before anything is touched.
  expect(await refusalOf(job)).toMatchObject({ reason: 'StorageFull' });
  rmSync(`${inside}/filler`);
  expect((await job.save()).fact.state).toBe('Saved');
  await expectWhole(job);
});

test('a sandbox that is held too long lets go by itself', async () => {
  const job = await scene.run({ argv: shell(ticking) });
  job.order('late', 'Prepare', { holdAtMostMs: 700 });
  await job.reached('late', 'Prepared');
  await job.hub.until(() => job.fact()?.checkpoint?.state === 'Aborted', 'its end');
  expect(job.fact()?.checkpoint).toMatchObject({ held: false, reason: 'DeadlineExceeded' });
  job.order('late', 'Dump');
  await expectWhole(job);
});

test('what is in the way only once all stand still is found beside the engine, and the ranks run on', async () => {
  const job = await scene.run({ argv: shell(ticking) });
  const inside = (...words: string[]): Buffer =>
    execFileSync('nsenter', ['--mount', '--target', String(job.fact()?.initPid), ...words]);
  job.order('late-mount', 'Prepare');
  await job.reached('late-mount', 'Prepared');
  inside('mount', '-t', 'tmpfs', 'late', '/mnt');
  job.order('late-mount', 'Dump');
  await job.hub.until(() => job.fact()?.checkpoint?.state === 'Aborted', 'its end');
  expect(job.fact()?.checkpoint).toMatchObject({
    held: false,
    reason: 'PreflightFailed',
    message: expect.stringContaining('/mnt was mounted in the sandbox after it began') as string,
  });
  inside('umount', '/mnt');
  await job.save();
  await expectWhole(job);
});

test('a rank that ends while it is being frozen ends as it would have', async () => {
  for (const seconds of [0.05, 0.1, 0.15, 0.2]) {
    const job = await scene.run({ argv: shell(`sleep ${String(seconds)}; echo over; exit 3`) });
    const uid = `x${String(seconds)}`;
    await after(seconds * 900);
    job.order(uid, 'Prepare');
    await job.hub.until(() => {
      const { state, checkpoint } = job.fact() ?? {};
      return state === 'Ended' || ['Prepared', 'Aborted'].includes(checkpoint?.state ?? '');
    }, 'an answer');
    job.order(uid, 'Abort');
    const ended = await job.hub.ended(job.spec.id);
    expect(ended.failures).toMatchObject([{ rank: 0, waitStatus: 3 << 8 }]);
    expect(await job.output()).toBe('over\n');
  }
});

test('a connection to outside stands in the way, or is ended, as the group asks', async () => {
  const connected: Socket[] = [];
  const closed: string[] = [];
  const server = createServer((socket) => {
    connected.push(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => closed.push(error.code ?? ''));
    socket.on('close', () => closed.push('closed'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as { port: number };
    const job = await scene.run({ argv: shell(`exec 3<>/dev/tcp/127.0.0.1/${String(port)}; ${ticking}`) });
    await eventually(() => expect(connected).toHaveLength(1));
    const { reason, message } = await refusalOf(job, { externalConnections: 'Refuse' });
    expect(reason).toBe('PreflightFailed');
    expect(message).toMatch(
      new RegExp(
        `rank 0, bash \\(process \\d+\\) is connected to 127\\.0\\.0\\.1:${String(port)} outside of the group`,
      ),
    );
    expect(closed).toEqual([]);
    expect((await job.save({ externalConnections: 'Reset' })).fact.state).toBe('Saved');
    await eventually(() => expect(closed).toEqual(['ECONNRESET', 'closed']));
    await expectWhole(job);
  } finally {
    server.close();
  }
});

test('a file open for writing is put back as it was, or stands in the way', async () => {
  const file = `${shared}/data`;
  const script = `exec 3>${file}; echo one >&3; ${ticking}; echo two >&3`;
  let job = await scene.run({ argv: shell(script), overrides: isolated() });
  await eventually(() => expect(readFileSync(file, 'utf8')).toBe('one\n'));
  chmodSync(file, 0o640);
  expect((await refusalOf(job, { openFiles: 'Refuse' })).message).toContain(
    `file ${file} is open for writing, and openFiles is Refuse`,
  );
  const saved = await job.save({ openFiles: 'Snapshot', hold: true });
  await job.vacate();
  writeFileSync(file, 'something else that was put there since');
  job = await job.restore(saved, 'node1', job.spec.tree, [], 'Snapshot');
  await expectWhole(job);
  expect(readFileSync(file, 'utf8')).toBe('one\ntwo\n');
  expect(readFileSync(`${file}.after-${saved.checkpointUid}`, 'utf8')).toBe(
    'something else that was put there since',
  );
});
