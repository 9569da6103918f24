import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentProcess, hasPrograms, programs, specOf } from './harness.ts';
import { TestHub } from './hub.ts';

let hub: TestHub;
let agent: AgentProcess;

beforeAll(async () => {
  hub = await TestHub.start();
  agent = await AgentProcess.start(hub, 'node1');
});

afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await hub[Symbol.asyncDispose]();
});

describe('one node', () => {
  test('runs ranks, collects their output, tells their ends, forgets them', async () => {
    const spec = specOf({
      argv: ['sh', '-c', 'echo "rank $MUSTER_RANK of $MUSTER_SIZE"; echo oops >&2'],
      size: 4,
    });
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id);
    expect(fact).toMatchObject({
      state: 'Ended',
      succeeded: '0-3',
      failuresTotal: 0,
      ranksTotal: 4,
      ranksRunning: 0,
      logsComplete: true,
    });
    const logs = await hub.logs('node1', spec.id);
    for (let rank = 0; rank < 4; rank++) {
      expect(logs.get(`${String(rank)}/1`)?.toString()).toBe(`rank ${String(rank)} of 4\n`);
      expect(logs.get(`${String(rank)}/2`)?.toString()).toBe('oops\n');
    }
    hub.remove('node1', spec.id);
    await hub.until(() => hub.fact(spec.id) === undefined, 'it to be forgotten');
    expect(readdirSync(join(agent.stateDir, 'sandboxes'))).toEqual([]);
  });

  test('gets a sandbox ready and starts nothing in it before it is to run, over a restart, and as it is wanted then', async () => {
    const spec = specOf({ argv: ['sh', '-c', 'echo "built for $MUSTER_SIZE"'], size: 1 });
    hub.desire('node1', { ...spec, want: 'Prepare' });
    const ready = async (than: number): Promise<number> => {
      await hub.until(() => ![0, than].includes(hub.fact(spec.id)?.initPid ?? 0), 'rank-init to be there');
      return hub.fact(spec.id)?.initPid ?? 0;
    };
    const first = await ready(0);
    await agent.kill();
    // What was placed before was never on record: the same incarnation is another one now.
    const other = specOf({ argv: ['sh', '-c', 'echo "built for $MUSTER_SIZE"'], size: 2 });
    hub.desire('node1', { ...other, id: spec.id, want: 'Prepare' });
    agent.run();
    const second = await ready(first);
    expect(hub.fact(spec.id)).toMatchObject({ state: 'Creating', ranksTotal: 2, ranksRunning: 0 });
    hub.desire('node1', { ...other, id: spec.id });
    expect(await hub.ended(spec.id)).toMatchObject({ state: 'Ended', succeeded: '0-1', initPid: second });
    const logs = await hub.logs('node1', spec.id);
    expect(logs.get('1/1')?.toString()).toBe('built for 2\n');
    hub.remove('node1', spec.id);
    await hub.until(() => hub.fact(spec.id) === undefined, 'it to be forgotten');
  });

  test('tells the first failure and ends the others', async () => {
    const spec = specOf({
      argv: ['sh', '-c', 'if [ $MUSTER_RANK = 2 ]; then exit 7; fi; exec sleep 1000'],
      size: 4,
    });
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id);
    expect(fact.failures[0]).toMatchObject({ rank: 2, waitStatus: 7 << 8, byUs: false });
    expect(fact.failures.slice(1).every((end) => end.byUs && end.waitStatus === 15)).toBe(true);
    expect(fact.failuresTotal).toBe(4);
    hub.remove('node1', spec.id);
  });

  test('a program that is not there is no exit code', async () => {
    const spec = specOf({ argv: ['/no/such/program'], size: 2 });
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id);
    expect(fact.failures[0]?.stage).toBe(7);
    expect(fact.failures[0]?.message).toMatch(
      /^MUSTER_START_FAILED: rank [01] on node1: exec \/no\/such\/program: no such file/,
    );
    hub.remove('node1', spec.id);
  });

  test.each([
    [
      'working directory',
      { programs: [{ name: 'main', ranks: '0', argv: ['true'], workingDir: '/no/such/dir' }] },
      /working directory \/no\/such\/dir: no such file/,
    ],
    [
      'a private path',
      { programs: [{ name: 'main', ranks: '0', argv: ['/tmp/x'], workingDir: '/' }] },
      /private in a sandbox/,
    ],
  ])('start failure: %s', async (_, overrides, message) => {
    const spec = specOf({ argv: [], overrides });
    hub.desire('node1', spec);
    expect((await hub.ended(spec.id)).failures[0]?.message).toMatch(message);
    hub.remove('node1', spec.id);
  });

  test.each([
    [
      'a user that is not allowed',
      { uid: 0 },
      'NotAllowed',
      /uid 0 is not in this node's allowed uids "1000-65534"/,
    ],
    [
      'an argument of 2 MB',
      { programs: [{ name: 'main', ranks: '0', argv: ['true', 'x'.repeat(2 << 20)], workingDir: '/' }] },
      'StartFailed',
      /argument 1 is 2097152 bytes long/,
    ],
    ['a device that is not offered', { devices: ['kvm'] }, 'NotAllowed', /device kvm is not offered/],
    ['a root that is not allowed', { root: '/srv/x' }, 'NotAllowed', /root \/srv\/x is not allowed/],
  ])('refuses %s', async (_, overrides, reason, message) => {
    const spec = specOf({ argv: ['true'], overrides });
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id);
    expect(fact).toMatchObject({ state: 'Failed', reason });
    expect(fact.message).toMatch(message);
    hub.remove('node1', spec.id);
  });

  test('ends with SIGTERM, then after the grace period with SIGKILL', async () => {
    const spec = specOf({
      argv: ['sh', '-c', 'trap "echo term" TERM; echo ready; while :; do sleep 0.1; done'],
      overrides: { graceSeconds: 1 },
    });
    hub.desire('node1', spec);
    await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
    await waitForOutput(spec.id, 'ready\n');
    hub.desire('node1', { ...spec, want: 'End', graceSeconds: 1 });
    const fact = await hub.ended(spec.id);
    expect(fact.failures[0]).toMatchObject({ waitStatus: 9, byUs: true });
    expect((await hub.logs('node1', spec.id)).get('0/1')?.toString()).toBe('ready\nterm\n');
    hub.remove('node1', spec.id);
  });

  test('freezes and thaws', async () => {
    const spec = specOf({ argv: ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done'] });
    hub.desire('node1', spec);
    await hub.until(
      () => (hub.fact(spec.id)?.logBytes ?? 0) > 0 || hub.fact(spec.id)?.state === 'Running',
      'it to run',
    );
    hub.desire('node1', { ...spec, want: 'Freeze' });
    await hub.until(() => hub.fact(spec.id)?.frozen === true, 'it to be frozen');
    hub.desire('node1', { ...spec, want: 'Run' });
    await hub.until(() => hub.fact(spec.id)?.frozen === false, 'it to be thawed');
    hub.desire('node1', { ...spec, want: 'Freeze' });
    await hub.until(() => hub.fact(spec.id)?.frozen === true, 'it to be frozen again');
    hub.desire('node1', { ...spec, want: 'Kill' });
    expect((await hub.ended(spec.id)).failures[0]?.waitStatus).toBe(9);
    hub.remove('node1', spec.id);
  });

  test('signals some ranks once', async () => {
    const spec = specOf({
      argv: [
        'sh',
        '-c',
        'trap "echo usr1" USR1; trap "exit 0" USR2; echo ready; while :; do sleep 0.05; done',
      ],
      size: 3,
    });
    hub.desire('node1', spec);
    for (const rank of [0, 1, 2]) await waitForOutput(spec.id, 'ready\n', rank);
    expect(
      await hub.verb('node1', { id: spec.id, kind: 'Signal', signal: 10, ranks: '0,2', signalId: 5 }),
    ).toMatchObject({ ok: true, reached: 2 });
    expect(
      await hub.verb('node1', { id: spec.id, kind: 'Signal', signal: 10, ranks: '0,2', signalId: 5 }),
    ).toMatchObject({ reached: 0 });
    await waitForOutput(spec.id, 'ready\nusr1\n', 2);
    expect(
      await hub.verb('node1', { id: spec.id, kind: 'Signal', signal: 12, ranks: '', signalId: 6 }),
    ).toMatchObject({ reached: 3 });
    expect(await hub.ended(spec.id)).toMatchObject({ succeeded: '0-2' });
    const logs = await hub.logs('node1', spec.id);
    expect(logs.get('1/1')?.toString()).toBe('ready\n');
    expect(logs.get('0/1')?.toString()).toBe('ready\nusr1\n');
    hub.remove('node1', spec.id);
  });

  test('standard input of many megabytes reaches rank 0 whole', async () => {
    const spec = specOf({ argv: ['sh', '-c', 'exec sha256sum'], overrides: { stdin: 'Rank0' } });
    hub.desire('node1', spec);
    await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
    const { call, first, streamId } = await hub.openStream('node1', { id: spec.id, kind: 'Stdin' });
    let window = first.window;
    let moved = Promise.withResolvers<void>();
    call.on('data', (chunk: { window: number }) => {
      window = Math.max(window, chunk.window);
      moved.resolve();
      moved = Promise.withResolvers();
    });
    call.resume();
    const block = Buffer.alloc(65_536, 'abcdefghijklmnopqrstuvwxyz0123456789');
    const blocks = 800;
    for (let sent = 0; sent < blocks; sent++) {
      const offset = sent * block.length;
      while (offset + block.length > window) await moved.promise;
      call.write({ streamId, offset, data: block, end: sent === blocks - 1 });
    }
    await hub.ended(spec.id);
    const { createHash } = await import('node:crypto');
    const hash = createHash('sha256');
    for (let i = 0; i < blocks; i++) hash.update(block);
    expect((await hub.logs('node1', spec.id)).get('0/1')?.toString()).toBe(`${hash.digest('hex')}  -\n`);
    call.end();
    hub.remove('node1', spec.id);
  });

  test('nothing that forks and hides outlives its sandbox', async () => {
    const marker = `muster-stray-${String(process.pid)}`;
    const spec = specOf({
      argv: ['bash', '-c', `(setsid bash -c 'exec -a ${marker} sleep 1000' &) ; exit 0`],
    });
    hub.desire('node1', spec);
    expect(await hub.ended(spec.id)).toMatchObject({ state: 'Ended', succeeded: '0' });
    expect(execFileSync('ps', ['-eo', 'args']).toString()).not.toContain(`\n${marker}`);
    hub.remove('node1', spec.id);
  });

  test('a limit of memory ends the ranks and is told', async () => {
    const spec = specOf({
      argv: ['bash', '-c', 'x=x; while :; do x=$x$x; done'],
      overrides: { memoryLimitBytes: 64 << 20 },
    });
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id);
    expect(fact.limitExceeded).toBe('memory');
    expect(fact.oomKills).toBeGreaterThan(0);
    hub.remove('node1', spec.id);
  });

  test('a limit of processor time ends the ranks and is told', async () => {
    const spec = specOf({ argv: ['sh', '-c', 'while :; do :; done'], overrides: { cpuTimeLimitSeconds: 1 } });
    hub.desire('node1', spec);
    expect((await hub.ended(spec.id)).limitExceeded).toBe('cpuTime');
    hub.remove('node1', spec.id);
  });

  test('1,024 ranks on one agent', async () => {
    const spec = specOf({ argv: ['/bin/echo', 'hello'], size: 1024, overrides: { pmi: 'None' } });
    const started = performance.now();
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id, 60_000);
    console.log(`1024 ranks: ${(performance.now() - started).toFixed(0)} ms`);
    expect(fact.succeeded).toBe('0-1023');
    hub.remove('node1', spec.id);
  });
});

describe.skipIf(!hasPrograms)('MPI programs on one node', () => {
  test('cpi', async () => {
    const spec = specOf({
      argv: [join(programs, 'cpi')],
      size: 4,
      overrides: { env: [{ name: 'LD_LIBRARY_PATH', value: join(programs, 'lib') }] },
    });
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id, 60_000);
    const logs = await hub.logs('node1', spec.id);
    expect([fact.succeeded, logs.get('0/1')?.toString()]).toEqual([
      '0-3',
      expect.stringMatching(/pi is approximately 3\.14159/),
    ]);
    expect(fact).toMatchObject({ pmiInitialized: true, pmiFinalized: true, pmiBadLines: 0 });
    hub.remove('node1', spec.id);
  });
});

async function waitForOutput(
  id: { groupUid: string; ordinal: number; incarnation: number },
  text: string,
  rank = 0,
): Promise<void> {
  const { call } = await hub.openStream('node1', {
    id,
    kind: 'Logs',
    ranks: String(rank),
    streams: [1],
    follow: true,
    tailLines: -1,
  });
  let seen = '';
  for await (const chunk of call) {
    seen += (chunk as { data: Buffer }).data.toString();
    if (seen.includes(text)) break;
  }
  call.end();
  expect(seen).toContain(text);
}
