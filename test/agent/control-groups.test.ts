/**
 * An agent on a machine that has version 2 of control groups alone, and on one that has version 1 alone: in mount namespaces where
 * that is all of /sys/fs/cgroup. Which controllers version 2 has there is the machine's choice: where memory, cpu and pids belong
 * to hierarchies of version 1, the agent says that it has none, and refuses what needs them.
 */
import { existsSync, readFileSync, rmdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Scene } from '../checkpoint/scene.ts';
import { criuProgram } from '../criu/criu.ts';
import { AgentProcess, specOf } from './harness.ts';
import { TestHub } from './hub.ts';

const isRoot = process.getuid?.() === 0;
const only2 =
  'umount --recursive --lazy /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; ! grep -q " - cgroup " /proc/self/mountinfo';
const only1 =
  'for at in $(findmnt -rn -t cgroup2 -o TARGET); do umount --lazy $at; done; ! grep -q " - cgroup2 " /proc/self/mountinfo';
const hasVersion1 = / - cgroup \S+ \S*\bfreezer\b/.test(readFileSync('/proc/self/mountinfo', 'utf8'));
/** Two levels, as below a delegated unit of systemd. */
const cgroupParent = `muster.slice/test-${String(process.pid)}.service`;
const script = 'i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; echo counted; exec sleep 1000';

const machines = [
  { name: 'version 2 alone', mounts: only2, cgroupOf: /^0::(.*)$/m, isThere: true },
  // Where there is none, nobody has such a machine.
  { name: 'version 1 alone', mounts: only1, cgroupOf: /^\d+:freezer:(.*)$/m, isThere: hasVersion1 },
];

describe.skipIf(!isRoot).for(machines.filter(({ isThere }) => isThere))('$name', ({ mounts, cgroupOf }) => {
  let hub: TestHub;
  let agent: AgentProcess;
  let missing: string[];

  beforeAll(async () => {
    hub = await TestHub.start();
    agent = await AgentProcess.start(hub, 'node1', {
      mounts,
      criu: criuProgram(),
      nodeConfig: { cgroupParent },
    });
    missing = hub.nodes.get('node1')?.hello.missing ?? [];
  });
  afterAll(async () => {
    await agent[Symbol.asyncDispose]();
    await hub[Symbol.asyncDispose]();
    for (const [, mount = ''] of readFileSync('/proc/self/mountinfo', 'utf8').matchAll(
      /(\S+) \S+ - cgroup2? /g,
    ))
      if (existsSync(`${mount}/${cgroupParent}`)) rmdirSync(`${mount}/${cgroupParent}`);
  });

  test('runs, freezes, thaws, counts and ends a job, also after the agent was killed', async () => {
    const spec = specOf({ argv: ['sh', '-c', script], size: 2, overrides: { graceSeconds: 1 } });
    hub.desire('node1', spec);
    await hub.until(() => (hub.fact(spec.id)?.ranksRunning ?? 0) === 2, 'the ranks to run');
    const init = hub.fact(spec.id)?.initPid ?? 0;
    const cgroup = cgroupOf.exec(readFileSync(`/proc/${String(init)}/cgroup`, 'utf8'))?.[1];
    expect(cgroup).toContain(`/${cgroupParent}/`);
    hub.desire('node1', { ...spec, want: 'Freeze' });
    await hub.until(() => hub.fact(spec.id)?.frozen === true, 'the ranks to be frozen');
    await agent.kill();
    agent.run();
    await hub.until(
      () => hub.nodes.has('node1') && hub.fact(spec.id)?.frozen === true,
      'the agent to be back',
    );
    hub.desire('node1', spec);
    await hub.until(() => hub.fact(spec.id)?.frozen === false, 'the ranks to be thawed');
    await hub.until(
      () => (hub.fact(spec.id)?.logBytes ?? 0) === 2 * 'counted\n'.length,
      'the ranks to have counted',
    );
    hub.desire('node1', { ...spec, want: 'End' });
    const fact = await hub.ended(spec.id);
    expect(fact.failures.map(({ waitStatus, byUs }) => [waitStatus, byUs])).toEqual([
      [15, true],
      [15, true],
    ]);
    expect(fact.cpuUs).toBeGreaterThan(0);
    hub.remove('node1', spec.id);
    await hub.until(() => !existsSync(`/proc/${String(init)}`), 'rank-init to be gone');
  });

  test('ends a job that is frozen, with all that it started', async () => {
    const spec = specOf({ argv: ['sh', '-c', `sleep 1000 & ${script}`] });
    hub.desire('node1', spec);
    await hub.until(() => (hub.fact(spec.id)?.ranksRunning ?? 0) === 1, 'the rank to run');
    const init = hub.fact(spec.id)?.initPid ?? 0;
    hub.desire('node1', { ...spec, want: 'Freeze' });
    await hub.until(() => hub.fact(spec.id)?.frozen === true, 'the rank to be frozen');
    hub.remove('node1', spec.id);
    await hub.until(() => !existsSync(`/proc/${String(init)}`), 'everything to be gone');
  });

  test('freezes what starts programs all the time, every time', async () => {
    const spec = specOf({ argv: ['sh', '-c', 'while :; do /bin/true; done'] });
    for (let round = 0; round < 40; round++) {
      hub.desire('node1', spec);
      await hub.until(() => hub.fact(spec.id)?.frozen === false, 'the rank to run');
      hub.desire('node1', { ...spec, want: 'Freeze' });
      await hub.until(() => hub.fact(spec.id)?.frozen === true, 'the rank to be frozen');
    }
    hub.remove('node1', spec.id);
    await hub.until(() => hub.fact(spec.id) === undefined, 'everything to be gone');
  });

  test('saves ranks that run on, whoever is killed, and brings them back from an image', async () => {
    const scene = new Scene(hub, [agent]);
    const counting = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done';
    const job = await scene.run({ argv: ['sh', '-c', counting] });
    const grown = async (of: typeof job): Promise<void> => {
      const before = of.fact()?.logBytes ?? 0;
      await hub.until(() => (of.fact()?.logBytes ?? 0) > before, 'it to run on');
    };
    await job.save();
    await grown(job);
    await scene.killedWhen(job, 'killed', 'Dumping');
    await grown(job);
    const saved = await job.save({ hold: true });
    await job.vacate();
    const back = await job.restore(saved);
    expect(back.fact()).toMatchObject({ state: 'Running' });
    await grown(back);
    const numbers = (await back.output(0, false)).trim().split('\n').map(Number);
    expect(numbers).toEqual(numbers.map((_, at) => at));
    await back.vacate();
  });

  test.each([
    ['memory-limit', { memoryLimitBytes: 64 << 20 }, 'limits.memory or resources.limits.memory'],
    ['cpu-limit', { cpuLimitMilli: 500 }, 'resources.limits.cpu'],
  ])('%s is held, or said to be missing and refused', async (feature, overrides, field) => {
    const spec = specOf({ argv: ['true'], overrides });
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id);
    const why = missing.find((text) => text.startsWith(`${feature}:`));
    if (why === undefined) expect(fact).toMatchObject({ state: 'Ended', succeeded: '0' });
    else {
      expect(why).toContain('controller is mounted or delegated');
      expect(fact).toMatchObject({ state: 'Failed', reason: 'NotAllowed' });
      expect(fact.message).toContain(`node node1: ${field} cannot be held here`);
    }
    hub.remove('node1', spec.id);
  });
});
