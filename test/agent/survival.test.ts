// The agent killed with SIGKILL at random moments: no rank dies, no byte of output or input is lost or doubled, every end
// is told right, nothing is left behind.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cgroups, parseHierarchies } from '../../node-agent/cgroups.ts';
import { defaultNodeConfig } from '../../node-agent/config.ts';
import { eventually } from '../contract/eventually.ts';
import { AgentProcess, specOf } from './harness.ts';
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

/** Rounds of a test: `count`, or on a slow machine as many as fit into a while, and a quarter at least. */
function* rounds(count: number, withinMs = 30_000): Generator<number> {
  const until = performance.now() + withinMs;
  for (let round = 0; round < count; round++) if (round * 4 < count || performance.now() < until) yield round;
}

function cgroupsOfAgent(): Cgroups {
  const hierarchies = parseHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
  return new Cgroups(hierarchies, defaultNodeConfig.cgroupParent, agent.stateDir, 'node1');
}

async function killAndRestart(): Promise<void> {
  const { sessions } = hub;
  await agent.kill();
  agent.run();
  await hub.until(() => hub.sessions > sessions, 'the agent to be back');
}

test('a sandbox that has ended is at rest when its group has: the next agent has its last word, its output, and lets it go', async () => {
  const spec = specOf({ argv: ['sh', '-c', 'echo kept; exit 3'] });
  hub.desire('node1', spec);
  const fact = await hub.ended(spec.id);
  const directory = join(agent.stateDir, 'sandboxes', `${spec.id.groupUid}-0-1`);
  const files = (): string[] => readdirSync(directory).sort();
  const output = async (): Promise<string> => String((await hub.logs('node1', spec.id)).get('0/1'));
  const startAgain = async (): Promise<void> => {
    const { sessions } = hub;
    await agent.kill('SIGTERM');
    hub.facts.clear();
    agent.run();
    await hub.until(() => hub.sessions > sessions, 'the agent to be back');
    expect(await hub.ended(spec.id)).toEqual(fact);
  };
  await startAgain();
  expect(files()).not.toContain('rest');
  hub.desire('node1', { id: spec.id, want: 'Keep' });
  expect(await output()).toBe('kept\n');
  await eventually(() => expect(cgroupsOfAgent().list()).toEqual([]));
  await startAgain();
  expect(files()).toContain('rest');
  expect(await output()).toBe('kept\n');
  await startAgain();
  expect(files()).toContain('rest');
  hub.remove('node1', spec.id);
  await hub.until(() => hub.fact(spec.id) === undefined, 'it to be let go');
  expect(() => files()).toThrow('ENOENT');
});

test('output, ends and signals survive a hundred kills', async () => {
  // Each rank writes numbered lines on both streams, in bursts and pauses, and exits with its own code.
  const lines = 200_000;
  const script = `i=0; while ((i < ${String(lines)})); do
      for ((j = 0; j < 500; j++, i++)); do echo "$MUSTER_RANK:$i"; ((i % 7)) || echo "e$MUSTER_RANK:$i" >&2; done
      read -t 0.0\${RANDOM:0:1} <> <(:) || :
    done; exit $((MUSTER_RANK * 10))`;
  const spec = specOf({ argv: ['bash', '-c', script], size: 4, overrides: { abortOnFailure: false } });
  hub.desire('node1', spec);
  await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
  const startedAt = hub.fact(spec.id)?.ranksStartedNs;
  let kills = 0;
  while (kills < 100 && !['Ended', 'Failed'].includes(hub.fact(spec.id)?.state ?? '')) {
    await after(Math.random() * 30);
    await killAndRestart();
    kills++;
  }
  const fact = await hub.ended(spec.id, 120_000);
  // Never a guess: what was told of it in between was true.
  const states = hub.history
    .filter((each) => each.id?.groupUid === spec.id.groupUid && each.ranksStartedNs > 0)
    .map((each) => each.state);
  const order = ['Running', 'Ending', 'Ended'];
  expect(states).toEqual([...states].sort((a, b) => order.indexOf(a) - order.indexOf(b)));
  expect(order).toEqual(expect.arrayContaining([...new Set(states)]));
  console.log(`output survived ${String(kills)} kills`);
  expect(kills).toBeGreaterThan(5);
  expect(fact.ranksStartedNs).toBe(startedAt);
  expect(fact).toMatchObject({ state: 'Ended', succeeded: '0', failuresTotal: 3 });
  expect(Object.fromEntries(fact.failures.map((end) => [end.rank, end.waitStatus >> 8]))).toEqual({
    1: 10,
    2: 20,
    3: 30,
  });
  const logs = await hub.logs('node1', spec.id);
  for (let rank = 0; rank < 4; rank++) {
    const numbers = Array.from({ length: lines }, (_, i) => i);
    const out = numbers.map((i) => `${String(rank)}:${String(i)}\n`).join('');
    const err = numbers
      .filter((i) => i % 7 === 0)
      .map((i) => `e${String(rank)}:${String(i)}\n`)
      .join('');
    expect(logs.get(`${String(rank)}/1`)?.toString() === out, `stdout of rank ${String(rank)}`).toBe(true);
    expect(logs.get(`${String(rank)}/2`)?.toString() === err, `stderr of rank ${String(rank)}`).toBe(true);
  }
  hub.remove('node1', spec.id);
});

test('input survives kills', async () => {
  const spec = specOf({ argv: ['sha256sum'], overrides: { stdin: 'Rank0' } });
  hub.desire('node1', spec);
  await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
  const block = Buffer.alloc(100_003, 'the quick brown fox jumps over the lazy dog ');
  const blocks = 1000;
  const total = block.length * blocks;
  const byteAt = (from: number, length: number) => {
    const parts: Buffer[] = [];
    for (let at = from; at < from + length;) {
      const part = block.subarray(
        at % block.length,
        Math.min(block.length, (at % block.length) + from + length - at),
      );
      parts.push(part);
      at += part.length;
    }
    return Buffer.concat(parts);
  };
  let kills = 0;
  let over = false;
  const killing = (async () => {
    for (const round of rounds(40)) {
      await after(20 + Math.random() * 60);
      if (over) break;
      kills = round + 1;
      await killAndRestart();
    }
  })();
  // A writer that begins again wherever the agent says it stands.
  while (!over) {
    try {
      await hub.until(() => hub.nodes.has('node1'), 'the agent');
      const opened = await Promise.race([
        hub.openStream('node1', { id: spec.id, kind: 'Stdin' }),
        after(500).then(() => null),
      ]);
      if (!opened || opened.first.error !== '') continue;
      const { call, first, streamId } = opened;
      let { window } = first;
      let broken = false;
      let wake = Promise.withResolvers<void>();
      const poke = () => {
        wake.resolve();
        wake = Promise.withResolvers();
      };
      call.on('data', (chunk: { window: number }) => {
        window = Math.max(window, chunk.window);
        poke();
      });
      for (const name of ['error', 'end', 'cancelled'] as const) {
        call.on(name, () => {
          broken = true;
          poke();
        });
      }
      call.resume();
      for (let offset = first.offset; !broken;) {
        const length = Math.min(65_536, total - offset, window - offset);
        if (length <= 0) {
          if (offset < total) await Promise.race([wake.promise, after(200)]);
          else await Promise.race([wake.promise, after(50)]);
          if (offset >= total && ['Ending', 'Ended'].includes(hub.fact(spec.id)?.state ?? '')) {
            over = true;
            break;
          }
          continue;
        }
        call.write({ streamId, offset, data: byteAt(offset, length), end: offset + length === total });
        offset += length;
        await new Promise((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      if (!(error instanceof Error)) throw error;
    }
  }
  await killing;
  await hub.until(() => hub.nodes.has('node1'), 'the agent');
  const fact = await hub.ended(spec.id);
  console.log(`input survived ${String(kills)} kills`);
  expect(fact.succeeded).toBe('0');
  const hash = createHash('sha256');
  for (let i = 0; i < blocks; i++) hash.update(block);
  expect((await hub.logs('node1', spec.id)).get('0/1')?.toString()).toBe(`${hash.digest('hex')}  -\n`);
  hub.remove('node1', spec.id);
});

test('killed anywhere between the order and the end, each sandbox runs once', async () => {
  const specs = [];
  for (const _round of rounds(60)) {
    const spec = specOf({ argv: ['sh', '-c', 'echo one; exit 3'], size: 2 });
    specs.push(spec);
    hub.desire('node1', spec);
    await after(Math.random() * 40);
    await killAndRestart();
  }
  for (const spec of specs) {
    const fact = await hub.ended(spec.id);
    expect(fact).toMatchObject({ state: 'Ended', failuresTotal: 2, reason: '' });
    const logs = await hub.logs('node1', spec.id);
    // Where the first failure ended the other rank before it wrote, its output is empty; never doubled.
    const out = [logs.get('0/1')?.toString() ?? '', logs.get('1/1')?.toString() ?? ''];
    expect(out.some((text) => text === 'one\n')).toBe(true);
    expect(out.every((text) => text === 'one\n' || text === '')).toBe(true);
    hub.remove('node1', spec.id);
  }
});

test('forgetting survives kills, and nothing is left', async () => {
  for (const _round of rounds(20)) {
    const spec = specOf({ argv: ['sleep', '1000'], size: 2 });
    hub.desire('node1', spec);
    await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
    hub.remove('node1', spec.id);
    await after(Math.random() * 15);
    await killAndRestart();
    await hub.until(() => hub.fact(spec.id) === undefined, 'it to be forgotten');
  }
  await hub.until(() => hub.facts.size === 0, 'everything to be forgotten');
  expect(readdirSync(join(agent.stateDir, 'sandboxes'))).toEqual([]);
  expect(cgroupsOfAgent().list()).toEqual([]);
});

test('a frozen sandbox stays frozen over kills, and runs on when it is thawed', async () => {
  const spec = specOf({
    argv: ['sh', '-c', 'i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.01; done'],
    size: 2,
  });
  hub.desire('node1', spec);
  await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
  hub.desire('node1', { ...spec, want: 'Freeze' });
  await hub.until(() => hub.fact(spec.id)?.frozen === true, 'it to be frozen');
  const told = () => hub.history.filter((fact) => fact.id?.groupUid === spec.id.groupUid);
  const before = told().length;
  for (let kills = 1; kills <= 3; kills++) {
    const facts = told().length;
    await killAndRestart();
    await hub.until(() => told().length > facts, 'it to be told again');
  }
  for (const fact of told().slice(before))
    expect(fact).toMatchObject({ state: 'Running', frozen: true, ranksRunning: 2 });
  await killAndRestart();
  hub.desire('node1', spec);
  expect(await hub.ended(spec.id)).toMatchObject({ state: 'Ended', succeeded: '0-1' });
  const counted = Array.from({ length: 100 }, (_, i) => `${String(i + 1)}\n`).join('');
  expect((await hub.logs('node1', spec.id)).get('1/1')?.toString()).toBe(counted);
  hub.remove('node1', spec.id);
});

test('a second agent on the same state directory is told so and ends', async () => {
  const second = new AgentProcess(hub, 'node1', agent.stateDir, agent.localSocket, agent.config);
  second.run();
  await second.ended;
  expect(second.log).toContain('MUSTER_SECOND_AGENT');
});
