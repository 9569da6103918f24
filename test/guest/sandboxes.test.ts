/**
 * A node with control groups that are not this machine's: where version 2 has all controllers, and where there is only version 1.
 * The control plane runs here, the node in a virtual machine that joined it; jobs are held to their limits, frozen, found again by
 * an agent that was killed, and ended, and nothing of them is left. `make guest` runs this, since emulation takes its time.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkout, Cluster, type Shown } from '../e2e/cluster.ts';
import { type ControlGroups, Machine } from './machine.ts';

const processesPerSandbox = 20;
const root = '/sys/fs/cgroup';
/** An emulated machine beside other work takes its time; what is waited for comes or does not. */
const patienceSeconds = 300;

const files = {
  v2: {
    frozen: ['', 'cgroup.events', /^frozen 1$/m],
    cpu: ['', 'cpu.max', /^25000 100000$/m],
    memory: ['', 'memory.max', /^67108864$/m],
    throttled: ['', 'cpu.stat', /^nr_throttled [1-9]/m],
  },
  v1: {
    frozen: ['freezer', 'freezer.state', /^FROZEN$/m],
    cpu: ['cpu', 'cpu.cfs_quota_us', /^25000$/m],
    memory: ['memory', 'memory.limit_in_bytes', /^67108864$/m],
    throttled: ['cpu', 'cpu.stat', /^nr_throttled [1-9]/m],
  },
} as const satisfies Record<ControlGroups, Record<string, readonly [string, string, RegExp]>>;

describe.each<ControlGroups>(['v2', 'v1'])(
  'control groups of %s alone',
  { timeout: patienceSeconds * 2000 },
  (version) => {
    let cluster: Cluster;
    let machine: Machine;
    let agent: string;
    /** Later kernels may come without the memory controller of version 1. */
    let hasMemory: boolean;

    beforeAll(async () => {
      const from = execFileSync(join(checkout, 'scripts/guest.sh'), { encoding: 'utf8' }).trim();
      cluster = await Cluster.up({ agents: 0 });
      machine = await Machine.boot(join(checkout, from), version);
      hasMemory = version === 'v2' || (await machine.try(`test -d ${root}/memory`)).code === 0;
      const told = await cluster.done(['token', 'create']);
      const [, address = '', token = '', hash = ''] =
        /--join (\S+) --token (\S+) --ca-hash (\S+)/.exec(told) ?? [];
      await machine.sh(
        `mkdir -p /etc/muster; echo '${JSON.stringify({ processesPerSandbox })}' >/etc/muster/node.yaml`,
      );
      await begin(`--join ${address.replace(/.*:/, 'hub.muster:')} --token ${token} --ca-hash ${hash}`);
    }, patienceSeconds * 1000);
    afterAll(async () => {
      await machine?.[Symbol.asyncDispose]();
      await cluster?.[Symbol.asyncDispose]();
    });

    /** Starts an agent, and waits until its node is ready. */
    async function begin(more = ''): Promise<void> {
      const { hubPort } = JSON.parse(readFileSync(join(cluster.home, 'run/hub.json'), 'utf8')) as {
        hubPort: number;
      };
      agent = (
        await machine.sh(
          `node /muster/build/dist/muster.mjs agent --node guest --hub hub.muster:${hubPort} --address 10.0.2.15 --node-config /etc/muster/node.yaml ${more} >>/var/agent.log 2>&1 & echo $!`,
        )
      ).trim();
      await until(
        async () => (await conditionOf('nm', 'guest', 'Ready'))?.status === 'True',
        'the node to be ready',
      );
    }

    async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
      const deadlineMs = performance.now() + patienceSeconds * 1000;
      while (!(await holds())) {
        if (performance.now() > deadlineMs)
          throw new Error(
            `waited for ${what}; the agent said ${await machine.sh('tail -n 20 /var/agent.log')}`,
          );
        await pause(300); // each question costs the one processor time
      }
    }

    async function conditionOf(kind: string, name: string, type: string) {
      const { code, stdout } = await cluster.muster(['get', kind, name, '-o', 'json']);
      if (code !== 0) return undefined;
      return (JSON.parse(stdout) as Shown).status?.conditions?.find((each) => each.type === type);
    }

    async function group(name: string, script: string, spec: Record<string, unknown> = {}): Promise<void> {
      const processes = [{ name: 'main', ranks: '0', command: ['/bin/sh', '-c', script] }];
      const manifest = {
        apiVersion: 'muster.dev/v1alpha1',
        kind: 'ProcessGroup',
        metadata: { name },
        spec: { size: 1, pmi: 'None', network: 'Host', processes, ...spec },
      };
      const applied = await cluster.apply(JSON.stringify(manifest));
      expect(applied, applied.stderr).toMatchObject({ code: 0 });
    }

    async function running(name: string): Promise<void> {
      const { code, stderr } = await cluster.wait(name, 'Running', patienceSeconds);
      expect(code, stderr).toBe(0);
    }
    const logOf = (name: string): Promise<string> => cluster.done(['logs', name, '--no-label']);

    const grown = async (name: string): Promise<void> => {
      const { length } = await logOf(name);
      await until(async () => (await logOf(name)).length > length, `${name} to go on`);
    };

    /** Whether a file of the sandbox's group has this. */
    async function holds(name: string, what: keyof (typeof files)['v1']): Promise<boolean> {
      const [controller, file, pattern] = files[version][what];
      const { uid } = (await cluster.get('pg', name)).metadata;
      return pattern.test(await machine.sh(`cat ${join(root, controller)}/muster.slice/*/*${uid}*/${file}`));
    }

    const counting = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.2; done';

    test('limits and freezing are the kernel’s, also while there is no agent, and harm no other job', async () => {
      await group('neighbour', counting);
      await group('frozen', counting);
      const script =
        'while ! test -e /var/tmp/go; do :; done; exec dd if=/dev/zero of=/dev/null bs=100M count=1';
      await group('limited', script, {
        ...(hasMemory ? { limits: { memory: '64Mi' } } : {}),
        resources: { limits: { cpu: '250m' } },
      });
      for (const name of ['limited', 'neighbour', 'frozen']) await running(name);
      expect(await holds('limited', 'cpu')).toBe(true);
      if (hasMemory) expect(await holds('limited', 'memory')).toBe(true);
      await until(() => holds('limited', 'throttled'), 'it to be held back');
      await cluster.done(['suspend', 'frozen']);
      await until(() => holds('frozen', 'frozen'), 'it to be frozen');

      await machine.sh(`kill -9 ${agent}; touch /var/tmp/go`);
      await until(async () => !(await machine.sh('ps')).includes('bs=100M'), 'it to end');
      await begin();
      await cluster.wait('limited', 'Finished', patienceSeconds);
      const { status } = await cluster.get('pg', 'limited');
      if (hasMemory) {
        expect(status?.exitSummary).toMatchObject({ node: 'guest', rank: 0, reason: 'MemoryExceeded' });
        expect(status?.exitSummary?.message).toContain('rank 0 on guest was ended for want of memory');
        expect(status?.conditions?.find(({ type }) => type === 'Failed')?.reason).toBe('MemoryExceeded');
      } else expect(status?.phase).toBe('Succeeded');

      await grown('neighbour');
      expect(await holds('frozen', 'frozen')).toBe(true);
      await cluster.done(['resume', 'frozen']);
      await grown('frozen');
      expect(await holds('frozen', 'frozen')).toBe(false);
      for (const name of ['neighbour', 'frozen']) {
        expect((await cluster.get('pg', name)).status).toMatchObject({ phase: 'Running', restarts: 0 });
        const numbers = (await logOf(name)).trim().split('\n').map(Number);
        expect(numbers).toEqual(numbers.map((_, index) => index));
      }
    });

    test('a fork bomb fills its own sandbox', async () => {
      const cpu = '100m'; // for the sake of the others: there is one processor
      const script = 'bomb() { bomb | bomb & }; bomb; while :; do sleep 1000; done';
      await group('bomb', script, { resources: { limits: { cpu } } });
      const event = `node lets a sandbox have ${processesPerSandbox} beside its ranks`;
      await until(
        async () => (await cluster.done(['describe', 'pg', 'bomb'])).includes(event),
        'the event of the limit',
      );
      await group('alive', 'echo alive');
      await cluster.wait('alive', 'Finished', patienceSeconds);
      expect(await logOf('alive')).toBe('alive\n');
      await cluster.done(['delete', 'pg', 'bomb']);
    });

    test('what is frozen is ended too, and nothing is left', async () => {
      await cluster.done(['suspend', 'frozen']);
      await until(() => holds('frozen', 'frozen'), 'it to be frozen again');
      await cluster.done(['delete', 'pg', 'neighbour', 'frozen', 'limited', 'alive']);
      await until(
        async () => (await machine.sh(`find ${root} -type d -path '*/muster.slice/*/*'`)) === '',
        'no control group of a sandbox to be left',
      );
      await machine.sh(`kill ${agent}; while kill -0 ${agent} 2>/dev/null; do sleep 0.1; done`);
      expect(await machine.sh(`find ${root} -type d -path '*/muster.slice/*'`)).toBe('');
    });
  },
);
