/**
 * A sandbox that runs before its memory is there: a ring of two ranks moves to and fro between two agents with 120 MB a rank on the way,
 * the agents killed in the middle; and what becomes of it when the node that has its memory is lost.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { programs } from '../agent/harness.ts';
import { eventually } from '../contract/eventually.ts';
import { isolated, type Job, Scene } from '../checkpoint/scene.ts';
import { Move } from './move.ts';

const mib = 240;
let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start(2);
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

/** Three blocks a rank are most of its memory. */
async function ring(): Promise<Job> {
  const bytes = Math.floor((mib << 20) / 2 / 3);
  const argv = ['ring', '--bytes', String(bytes), '--seconds', '3600', '--report-every', '1'];
  const [name = '', ...args] = argv;
  const job = await scene.run({ argv: [`${programs}/${name}`, ...args], size: 2, overrides: isolated() });
  await scene.hub.until(() => (job.fact()?.memoryBytes ?? 0) > (mib << 20) * 0.9, 'its memory', 60_000);
  return job;
}

const agentOf = (node: string): Scene['agents'][number] =>
  scene.agents[Number(node.slice('node'.length)) - 1]!;

/** Its agent is killed and started again. */
async function restart(node: string): Promise<void> {
  const { nodes } = scene.hub;
  await agentOf(node).kill();
  nodes.delete(node);
  agentOf(node).run();
  await scene.hub.until(() => nodes.has(node), `agent ${node}`);
}

/** Its agent is another, and where it is now is told to whoever needs it. */
async function killSource(move: Move): Promise<void> {
  await restart(move.leaver.node);
  move.tell(move.comer, 'Follow');
}

/** The ring checks all that it passes on; every iteration stands in its output once and in order, and it goes on. */
async function goesOn(job: Job): Promise<void> {
  const said = async (): Promise<string[]> => (await job.output(0, false)).trimEnd().split('\n');
  const before = (await said()).length;
  await eventually(async () => expect((await said()).length).toBeGreaterThan(before + 2), 60_000);
  (await said()).forEach((line, at) => expect(line).toContain(`rank 0 iteration ${String(at)} `));
}

/** Nothing of its moves is left. */
async function end(job: Job): Promise<void> {
  job.want({ want: 'Kill' });
  await scene.hub.ended(job.spec.id);
  for (const { stateDir } of scene.agents) {
    const hash = createHash('sha256').update(stateDir).digest('hex').slice(0, 12);
    expect(existsSync(`/dev/shm/muster-transit-${hash}`)).toBe(false);
  }
}

async function begun(job: Job, target: string): Promise<Move> {
  const move = new Move(scene.hub, job, target, { pagesFollow: true });
  const [, placed] = await move.place();
  // What was dumped is little, and the rest is where it was.
  expect(placed.bytes).toBeLessThan((mib << 20) / 4);
  expect(placed.pagesLeftBytes).toBeGreaterThan((mib << 20) / 2);
  return move;
}

test('moves to and fro, runs before its memory is there, and nothing of it is lost, whichever agent is killed', async () => {
  let job = await ring();
  const there = await begun(job, 'node2');
  await there.commit();
  await killSource(there);
  await there.settle();
  job = there.comer;
  const back = await begun(job, 'node1');
  await back.commit();
  await restart('node1');
  await back.settle();
  await goesOn(back.comer);
  await end(back.comer);
});

test('runs as soon as what it wrote last has come, when its memory was copied ahead, and nothing of it is lost', async () => {
  const job = await ring();
  const killed = new Move(scene.hub, job, 'node2', { pagesAhead: true });
  killed.tell(job, 'Prepare');
  killed.tell(killed.comer, 'Prepare');
  await Promise.all([killed.reached(job, 'Prepared'), killed.reached(killed.comer, 'Prepared')]);
  killed.tell(job, 'Leave');
  killed.tell(killed.comer, 'Place');
  await killed.reached(job, 'Leaving');
  await restart('node1');
  await expect(killed.reached(killed.comer, 'Placed')).rejects.toThrow('AgentRestarted');
  scene.hub.remove('node2', killed.comer.spec.id);
  await scene.hub.until(() => killed.comer.fact() === undefined, 'what came to be gone');
  const move = new Move(scene.hub, job, 'node2', { pagesAhead: true });
  const [, placed] = await move.place();
  expect(placed.bytes).toBeGreaterThan((mib << 20) * 0.9);
  await move.commit();
  await restart('node2');
  await move.settle();
  await goesOn(move.comer);
  await end(move.comer);
});

test('fails, and says so, when the node that has its memory is lost', async () => {
  const job = await ring();
  const move = await begun(job, 'node2');
  await agentOf('node1').kill();
  await move.commit();
  const { reason, message } = await move.lost();
  expect({ reason, message }).toEqual({
    reason: 'NodeLost',
    message: 'MUSTER_PAGES_LOST: the node that had the rest of their memory is lost, and the ranks with it',
  });
  scene.hub.remove('node2', move.comer.spec.id);
  await scene.hub.until(() => move.comer.fact() === undefined, 'it to be gone');
  agentOf('node1').run();
  await scene.hub.until(() => move.leaver.fact() === undefined, 'the other to be gone');
});
