// What an agent tells Prometheus, to whom, and that its counters stay whole when it is killed.
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { agentMetrics } from '../../crds/metrics.ts';
import { promtool } from '../chart/promtool.ts';
import { AgentProcess, specOf } from './harness.ts';
import { TestHub } from './hub.ts';

let hub: TestHub;
let agent: AgentProcess;
let ca: Buffer;
const spec = specOf({ argv: ['sh', '-c', 'while :; do :; done'] });

beforeAll(async () => {
  hub = await TestHub.start();
  const tokenFile = join(hub.directory, 'token');
  writeFileSync(tokenFile, 'open-sesame\n', { mode: 0o600 });
  agent = await AgentProcess.start(hub, 'node1', { metrics: { host: '127.0.0.1', port: 0, tokenFile } });
  ca = readFileSync((await hub.certificateOf('node1')).ca);
  hub.desire('node1', spec);
  measureOften();
});
afterAll(async () => {
  await agent?.[Symbol.asyncDispose]();
  await hub?.[Symbol.asyncDispose]();
});

const measureOften = (): void => void hub.nodes.get('node1')?.call.write({ monitor: { intervalSeconds: 1 } });
const portNow = (of = agent): number =>
  Number(/"port":(\d+),"msg":"metrics are served"/.exec(of.log)?.[1] ?? 0);

/** The agent holds no more than 32 connections. */
const few = new Agent({ maxSockets: 8 });

interface Asked {
  readonly token?: string;
  readonly tls?: { cert: Buffer; key: Buffer };
  readonly path?: string;
  readonly of?: AgentProcess;
}

async function ask({
  token,
  tls,
  path = '/metrics',
  of = agent,
}: Asked): Promise<{ code: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ code: number; body: string }>();
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const options = { host: '127.0.0.1', port: portNow(of), path, ca, servername: `${of.node}.node.muster`, headers, agent: tls ? new Agent() : few, ...tls }; // prettier-ignore
  request(options, (response) => {
    text(response).then((body) => resolve({ code: response.statusCode ?? 0, body }), reject);
  })
    .on('error', reject)
    .end();
  return promise;
}

const usedSeconds = (body: string): number | undefined => {
  const line =
    /^muster_sandbox_cpu_seconds_total\{namespace="default",group="test",ordinal="0",mode="user"\} (\S+)$/m;
  const found = line.exec(body)?.[1];
  return found === undefined ? undefined : Number(found);
};

test('nobody without a certificate of the cluster or the token is told anything', async () => {
  for (const asked of [{}, { token: 'open' }, { token: '' }, { path: '/' }, { path: '/../etc/passwd' }]) {
    const { code, body } = await ask(asked);
    expect([code, body]).toEqual([401, 'a certificate of the cluster or the bearer token is needed\n']);
  }
  expect((await ask({ token: 'open-sesame' })).code).toBe(200);
  expect((await ask({ token: 'open-sesame', path: '/other' })).code).toBe(404);
  const { cert, key } = await hub.certificateOf('node9');
  expect((await ask({ tls: { cert: readFileSync(cert), key: readFileSync(key) } })).code).toBe(200);
});

test('a scraper that asks a hundred times a second is told the same, and costs no more', async () => {
  const begunMs = performance.now();
  const answers = await Promise.all(Array.from({ length: 100 }, () => ask({ token: 'open-sesame' })));
  const seconds = (performance.now() - begunMs) / 1000;
  expect(answers.every(({ code }) => code === 200)).toBe(true);
  expect(new Set(answers.map(({ body }) => body)).size).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
});

test("counters are whole when the agent was killed: they are the kernel's", async () => {
  let before = 0;
  await until(async () => {
    const { body } = await ask({ token: 'open-sesame' });
    before = usedSeconds(body) ?? 0;
    return before > 0.5 && body.includes('muster_sandbox_rank_cores{');
  });
  const { body } = await ask({ token: 'open-sesame' });
  const named = new Set([...body.matchAll(/^# TYPE (muster_\w+)/gm)].map(([, name]) => name));
  expect([...named].sort()).toEqual(Object.keys(agentMetrics).sort());
  expect(await promtool(['check', 'metrics'], body)).toBe('');
  await agent.kill();
  agent.log = '';
  agent.run();
  await until(() => portNow() > 0);
  measureOften();
  const seen: number[] = [];
  await until(async () => {
    const used = usedSeconds((await ask({ token: 'open-sesame' })).body);
    if (used !== undefined) seen.push(used);
    return seen.length > 0;
  });
  expect(seen[0]).toBeGreaterThanOrEqual(before);
});

/** In the agent's process libfaketime says what time it is, of what it reads there. */
const library = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketime.so.1`;

test('a node whose disk is full and whose clock runs backwards is told as such, and its ranks run on', async () => {
  if (!existsSync(library)) throw new Error(`${library} is missing: apt-get install libfaketime`);
  const [state, clock] = [join(hub.directory, 'ill'), join(hub.directory, 'clock')];
  mkdirSync(join(state, 'sandboxes'), { recursive: true });
  writeFileSync(clock, '+0');
  await using ill = await AgentProcess.start(hub, 'ill', {
    metrics: { host: '127.0.0.1', port: 0, tokenFile: join(hub.directory, 'token') },
    mounts: `mount -t tmpfs -o size=4m none ${state}; export LD_PRELOAD=${library} FAKETIME_TIMESTAMP_FILE=${clock} FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1`,
  });
  const busy = specOf({ argv: ['sh', '-c', 'while :; do :; done'] });
  hub.desire('ill', busy);
  await hub.until(() => hub.fact(busy.id)?.state === 'Running', 'it to run');
  const inside = `/proc/${String(ill.pid)}/root${state}`;
  expect(() => appendFileSync(`${inside}/filler`, Buffer.alloc(8 << 20))).toThrow('ENOSPC');
  const checks = [{ name: 'disk-full', intervalSeconds: 1, timeoutSeconds: 5, failureThreshold: 1 }];
  hub.nodes.get('ill')?.call.write({ monitor: { intervalSeconds: 1, checks } });
  const figure = async (name: string): Promise<number> => {
    const { body } = await ask({ token: 'open-sesame', of: ill });
    return Number(body.split('\n').find((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))?.split(' ').at(-1)); // prettier-ignore
  };
  await until(async () => (await figure('muster_node_check_passed{check="disk-full"}')) === 0);
  const late = specOf({ argv: ['true'] });
  hub.desire('ill', late);
  expect(await hub.ended(late.id)).toMatchObject({ state: 'Failed', message: expect.stringContaining('ENOSPC') }); // prettier-ignore

  const used = 'muster_sandbox_cpu_seconds_total{namespace="default",group="test",ordinal="0",mode="user"}';
  await until(async () => (await figure(used)) > 0);
  const before = await figure(used);
  writeFileSync(clock, '-3600');
  await until(async () => (await figure('muster_node_clock_jumps_total')) >= 1);
  await until(async () => (await figure(used)) > before);
  const { body } = await ask({ token: 'open-sesame', of: ill });
  for (const [line, value] of body.matchAll(/^muster_(?!node_clock_offset)\S+ (\S+)$/gm))
    expect(Number(value), line).toBeGreaterThanOrEqual(0);
  const share = await figure('muster_node_cpu_ratio{mode="busy"}');
  expect(share).toBeLessThanOrEqual(1);
  expect(hub.fact(busy.id)).toMatchObject({ state: 'Running', ranksRunning: 1 });

  rmSync(`${inside}/filler`);
  const next = specOf({ argv: ['true'] });
  hub.desire('ill', next);
  expect(await hub.ended(next.id)).toMatchObject({ state: 'Ended', succeeded: '0' });
});

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within 30 s; the agent says ${agent.log}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
