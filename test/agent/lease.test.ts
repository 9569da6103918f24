// Ranks under a lease on one node: an agent that hears of no grant, or is dead or new meanwhile, lets nobody run, and nobody dies of it.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SandboxId } from '../../wire/agent-types.ts';
import { eventually } from '../hosts/processes.ts';
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

/** Heartbeats go every second. */
const short = 3_000;
const far = 3_600_000;
const spinning = ['sh', '-c', 'while :; do :; done'];
const place = (endsAfterMs: number) => {
  const lease = { expiresAfterMs: short, endsAfterMs };
  const spec = specOf({ argv: spinning, size: 2, overrides: { pmi: 'None', lease } });
  hub.desire('node1', spec);
  return spec;
};

/** Processor time of the ranks, and the letters of their states, as in proc(5). */
function ranksOf(id: SandboxId): { ticks: number; states: string } {
  const pid = String(hub.fact(id)?.initPid);
  const ranks = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  const stats = ranks.map((rank) =>
    readFileSync(`/proc/${rank}/stat`, 'utf8').replace(/.*\) /, '').split(' '),
  );
  return {
    ticks: stats.reduce((sum, fields) => sum + Number(fields[11]) + Number(fields[12]), 0),
    states: stats.map(([state]) => state).join(''),
  };
}

async function goOn(id: SandboxId): Promise<void> {
  const { ticks } = ranksOf(id);
  await eventually(() => ranksOf(id).ticks > ticks + 10, 'ranks that go on');
}

test('ranks start under a lease, stop without one, whatever becomes of the agent, and go on with the next', async () => {
  hub.grants = false;
  const spec = place(far);
  await hub.until(() => (hub.fact(spec.id)?.initPid ?? 0) > 0, 'its rank-init');
  expect(hub.fact(spec.id)).toMatchObject({ state: 'Creating', ranksRunning: 0 });
  hub.grants = true;
  await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
  await goOn(spec.id);

  // Frozen by the agent or stopped by rank-init, whoever was first.
  hub.grants = false;
  await eventually(() => /^[ST]+$/.test(ranksOf(spec.id).states), 'ranks that stand still');
  const { ticks } = ranksOf(spec.id);
  const { sessions } = hub;
  await agent.kill();
  agent.run();
  await hub.until(() => hub.sessions > sessions, 'the agent to be back');
  await hub.until(() => hub.fact(spec.id)?.ranksRunning === 2, 'it to tell of the ranks');
  expect(ranksOf(spec.id).ticks).toBe(ticks);

  hub.grants = true;
  await goOn(spec.id);
  expect(hub.fact(spec.id)).toMatchObject({ state: 'Running', failuresTotal: 0, frozen: false });

  // With the agent dead rank-init stops them, and the next agent lets them go on.
  await agent.kill();
  await eventually(() => ranksOf(spec.id).states === 'TT', 'stopped ranks');
  agent.run();
  await goOn(spec.id);
  hub.remove('node1', spec.id);
  await hub.until(() => hub.fact(spec.id) === undefined, 'it to be forgotten');
});

test('ranks are killed at the hard end, which is no failure of theirs', async () => {
  const spec = place(short + 500);
  await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
  hub.grants = false;
  const fact = await hub.ended(spec.id);
  expect(fact).toMatchObject({ state: 'Failed', reason: 'LeaseExpired' });
  expect(fact.failures.every(({ byUs }) => byUs)).toBe(true);
  hub.grants = true;
  hub.remove('node1', spec.id);
  await hub.until(() => hub.fact(spec.id) === undefined, 'it to be forgotten');
});
