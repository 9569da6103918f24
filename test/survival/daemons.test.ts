/**
 * The other ways in which those around a job end: the client killed, the supervisor killed, agents stopped by SIGTERM, and an
 * agent whose own cgroup is emptied as a service manager would (no systemd runs here: a cgroup and a cgroup namespace of the
 * agent's own stand for its unit). Ranks live on, and `muster down` always leaves nothing.
 */
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, eventually, muster } from './cluster.ts';
import { input, jobName, output, pmiRounds } from './scenarios.ts';
import { Random } from './random.ts';

describe('daemons one by one', () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.up(2);
    // Its client is killed here already: the lease takes 30 s to run out.
    const { client } = await cluster.submit('forsaken', () => ({
      client: cluster.spawn(['run', '-n', '2', '--name', 'forsaken', 'sleep', '600']),
    }));
    client.kill('SIGKILL');
    await once(client, 'exit');
  });

  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });

  it('Ctrl-C ends a job though the control plane is killed as it hears of it', async () => {
    const random = new Random();
    for (let round = 0; round < 5; round++) {
      const name = jobName('interrupted');
      const { client } = await cluster.submit(name, () => ({
        client: cluster.spawn(['run', '-n', '2', '--name', name, 'sleep', '600']),
      }));
      const left = once(client, 'exit');
      client.kill('SIGINT');
      await pause(random.between(0, 10));
      await cluster.controller.restart();
      await left;
      await eventually(
        async () => (await cluster.group(name)).status?.phase === 'Failed',
        `the end of ${name}; MUSTER_SEED=${random.seed}`,
      );
      await eventually(() => cluster.daemons.every((daemon) => daemon.isUp), 'the control plane is up again');
    }
    await cluster.ready();
  });

  it('agents stopped by SIGTERM and started again lose nothing', async () => {
    const random = new Random();
    let done = false;
    const jobs = Promise.all([
      output(cluster, { ranks: 4, bytes: 16_384 * 256, seconds: 4 }),
      input(cluster, random, 16_384 * 256, 4),
      pmiRounds(cluster, { ranks: 4, rounds: 50, pauseUs: 50_000 }),
    ]).finally(() => (done = true));
    jobs.catch(() => undefined); // awaited below
    while (!done) {
      await eventually(() => done || !cluster.isQuiet, 'the jobs have their nodes');
      // Between two stops there has to be time for some progress.
      await pause(random.between(100, 600));
      for (const agent of cluster.agents) await agent.restart('SIGTERM');
      await eventually(() => done || cluster.agents.every((agent) => agent.isUp), 'the agents are up again');
    }
    await jobs;
    for (const agent of cluster.agents) agent.surprise = undefined;
  });

  it('emptying the cgroup of an agent in a cgroup namespace of its own harms no rank', async () => {
    const mount = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((line) => line.includes(' - cgroup2 '))!
      .split(' ')[4]!;
    const unit = join(mount, `muster-survival-${process.pid}`);
    const agent = cluster.agents[0]!;
    mkdirSync(unit);
    try {
      await agent.stop('SIGTERM');
      const enter = `echo $$ >${unit}/cgroup.procs && exec unshare --cgroup ${muster} agent --node node1 --bind ${cluster.shared}`;
      agent.start(['sh', '-c', enter]);
      await eventually(() => agent.isUp, 'the agent is up in its cgroup');
      expect(readFileSync(`/proc/${agent.pid}/cgroup`, 'utf8')).toContain(`muster-survival-${process.pid}`);
      let emptied = 0;
      const jobs = Promise.all([
        output(cluster, { ranks: 4, bytes: 16_384 * 256, seconds: 4 }),
        pmiRounds(cluster, { ranks: 4, rounds: 30, pauseUs: 50_000 }),
      ]);
      await eventually(
        () => cluster.processes().filter(({ name }) => name === 'paced' || name === 'pmirounds').length >= 8,
        'all ranks run',
      );
      // Those of the jobs may have come to their end meanwhile; how they do is looked at last.
      const asleep = (): number[] =>
        cluster.processes().flatMap(({ pid, name }) => (name === 'sleep' ? pid : []));
      const before = asleep();
      expect(before.length).toBeGreaterThan(0);
      for (; emptied < 2; emptied++) {
        writeFileSync(join(unit, 'cgroup.kill'), '1');
        await eventually(() => readFileSync(join(unit, 'cgroup.procs'), 'utf8') === '', 'the unit is empty');
        expect(asleep()).toEqual(before);
        await agent.stop('SIGKILL');
        agent.start(['sh', '-c', enter]);
        await eventually(() => agent.isUp, 'the agent is up again');
      }
      await jobs;
      await agent.restart('SIGTERM');
      agent.surprise = undefined;
      await cluster.ready();
    } finally {
      if (existsSync(unit))
        await eventually(() => (rmdirSync(unit), true), 'the cgroup is removed').catch(() => undefined);
    }
  });

  it('a client killed with SIGKILL ends its job after its lease', async () => {
    const failed = await eventually(
      async () => {
        const { status } = await cluster.group('forsaken');
        return status?.conditions?.find(({ type, status: value }) => type === 'Failed' && value === 'True');
      },
      'the job of the killed client has ended',
      60_000,
    );
    expect(failed).toMatchObject({ reason: 'ClientGone' });
    await cluster.clean();
  });
});

describe('a cluster of `muster up`', () => {
  it('whose supervisor is killed runs on, is taken over by the next one, and is ended by `muster down`', async () => {
    await using cluster = Cluster.bare(2);
    const recordOf = (name: string): number =>
      (JSON.parse(readFileSync(join(cluster.home, 'run', `${name}.pid.json`), 'utf8')) as { pid: number })
        .pid;
    const up = ['up', '--detach', '--agents', '2', '--bind', cluster.shared];
    expect(await cluster.run(up)).toMatchObject({ code: 0 });
    const name = jobName('orphaned');
    const job = cluster.run([
      'run',
      '-n',
      '2',
      '--ppn',
      '1',
      '--name',
      name,
      'sh',
      '-c',
      'sleep 15; echo survived',
    ]);
    await eventually(
      () => cluster.processes().filter(({ name }) => name === 'sleep').length === 2,
      'both ranks run',
    );
    const before = cluster.processes().map(({ pid }) => pid);
    process.kill(recordOf('supervisor'), 'SIGKILL');
    process.kill(recordOf('node1'), 'SIGKILL');
    expect(await cluster.run(up)).toMatchObject({ code: 0 });
    expect(cluster.processes().map(({ pid }) => pid)).toEqual(expect.arrayContaining(before));
    // The supervisor starts what dies, at once and by itself.
    for (const daemon of ['node2', 'controller', 'node1']) process.kill(recordOf(daemon), 'SIGKILL');
    expect(await job).toEqual({ code: 0, stdout: 'survived\nsurvived\n', stderr: '' });
    await cluster.ready();
    await cluster.clean();

    await cluster.run(['run', '-n', '2', '--detach', 'sleep', '600']);
    await eventually(
      () => cluster.processes().filter(({ name }) => name === 'sleep').length === 2,
      'both ranks run',
    );
    const daemons = ['supervisor', 'controller', 'node1', 'node2'].map(recordOf);
    process.kill(daemons[0]!, 'SIGKILL');
    expect(await cluster.run(['down'])).toMatchObject({ code: 0 });
    expect(cluster.processes()).toEqual([]);
    expect(cluster.sandboxCgroups()).toEqual([]);
    for (const pid of daemons) expect(existsSync(`/proc/${pid}`), `process ${pid}`).toBe(false);
  });
});
