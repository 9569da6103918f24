/** What a sandbox gives its ranks and holds them to: names, processors, devices, a root, memory, time, processes. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster, eventually } from './cluster.ts';

const isRoot = process.getuid?.() === 0;
const offered = ['/dev/fuse', '/dev/net/tun'].find((device) => existsSync(device));
const processes = 60;
let cluster: Cluster;
let root: string;

beforeAll(async () => {
  root = makeRoot();
  const config = join(root, 'node.yaml');
  writeFileSync(
    config,
    JSON.stringify({
      devices: { tool: [offered ?? '/dev/null'] },
      roots: [root],
      processesPerSandbox: processes,
    }),
  );
  cluster = await Cluster.up({ agents: 2, args: ['--node-config', config] });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

/** A root file system of a shell and no more. */
function makeRoot(): string {
  const directory = mkdtempSync('/var/tmp/muster-e2e-root-');
  chmodSync(directory, 0o755);
  for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp']) mkdirSync(join(directory, name));
  const linked = execFileSync('ldd', ['/bin/sh'], { encoding: 'utf8' }).match(/\/\S+/g) ?? [];
  for (const file of ['/bin/sh', ...linked]) {
    mkdirSync(join(directory, file, '..'), { recursive: true });
    copyFileSync(file, join(directory, file));
  }
  writeFileSync(join(directory, 'only-here'), '');
  return directory;
}

interface Asked {
  name: string;
  script: string;
  size?: number;
  spec?: Record<string, unknown>;
}

/** Applies a group of shells; the names are of one test each. */
async function group({ name, script, size = 1, spec = {} }: Asked): Promise<void> {
  const { placement, ...others } = { placement: { nodes: ['node1'] }, ...spec };
  const manifest = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name },
    spec: {
      size,
      pmi: 'None',
      processes: [
        { name: 'main', ranks: size === 1 ? '0' : `0-${size - 1}`, command: ['/bin/sh', '-c', script] },
      ],
      placement,
      ...others,
    },
  };
  const applied = await cluster.apply(JSON.stringify(manifest));
  expect(applied, applied.stderr).toMatchObject({ code: 0 });
}

async function ended(name: string): Promise<Awaited<ReturnType<Cluster['get']>>['status']> {
  await cluster.wait(name, 'Finished', 60);
  return (await cluster.get('pg', name)).status;
}

const logs = (name: string): Promise<string> => cluster.done(['logs', name, '--no-label']);

describe('names', () => {
  test('on the nodes’ network a rank finds every node and sandbox of its group by name', async () => {
    await group({
      name: 'names',
      script: 'getent hosts node1 node2 names-0 names-1 | sed "s/  */ /g"',
      size: 2,
      spec: { network: 'Host', placement: { nodes: ['node1', 'node2'] } },
    });
    expect((await ended('names'))?.phase).toBe('Succeeded');
    const lines = (await logs('names')).trim().split('\n');
    expect(lines).toHaveLength(8);
    for (const node of ['1', '2'])
      expect(lines.filter((line) => line.includes(`node${node} names-${Number(node) - 1}`))).toHaveLength(4);
  });
});

interface Row {
  rank: number;
  processors: string;
}

describe('processors', () => {
  const rowsOf = async (name: string): Promise<Row[]> =>
    JSON.parse(await cluster.done(['ps', name, '-o', 'json'])) as Row[];
  const bound = { placement: { nodes: ['node1'], binding: 'Core' } };
  const script = 'grep Cpus_allowed_list /proc/self/status; exec sleep 1000';

  test.skipIf(availableParallelism() < 2)(
    'two groups on one node share no core, also after the agent was killed',
    async () => {
      await group({ name: 'bound-1', script, spec: bound });
      await eventually(
        async () => ((await rowsOf('bound-1'))[0]?.processors ?? '') !== '',
        'the first group to be bound',
      );
      const pid = Number(readFileSync(join(cluster.home, 'run', 'node1.pid.json'), 'utf8').match(/\d+/)?.[0]);
      process.kill(pid, 'SIGKILL');
      await group({ name: 'bound-2', script, spec: bound });
      await eventually(
        async () => ((await rowsOf('bound-2'))[0]?.processors ?? '') !== '',
        'the second group to be bound',
      );
      const [[one], [other]] = [await rowsOf('bound-1'), await rowsOf('bound-2')];
      expect(one?.processors).not.toBe(other?.processors);
      for (const [name, row] of [
        ['bound-1', one],
        ['bound-2', other],
      ] as const) {
        await eventually(async () => (await logs(name)) !== '', 'output');
        expect(await logs(name)).toBe(`Cpus_allowed_list:\t${row?.processors}\n`);
        expect(await cluster.done(['ps', name, '-o', 'wide'])).toContain(row?.processors);
        await cluster.done(['delete', 'pg', name]);
      }
    },
  );
});

/** In hwloc's words; undefined: it is not installed. */
function boundTo(environment: NodeJS.ProcessEnv): string | undefined {
  const args = ['core:0', '--', 'grep', 'Cpus_allowed_list', '/proc/self/status'];
  try {
    return execFileSync('hwloc-bind', args, { encoding: 'utf8', env: environment });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

describe('topology', () => {
  const own = boundTo(process.env);

  test.skipIf(own === undefined)(
    'hwloc reads what the agent found out, and binds by it (needs the Debian package hwloc-nox)',
    async () => {
      const script = 'cat "$HWLOC_XMLFILE"; hwloc-bind core:0 -- grep Cpus_allowed_list /proc/self/status';
      let round = 0;
      await eventually(async () => {
        const name = `topology-${(round += 1)}`; // the agent finds out while it works already
        await group({ name, script });
        expect((await ended(name))?.phase).toBe('Succeeded');
        const said = await logs(name);
        expect(said.endsWith(own ?? '')).toBe(true);
        return said.includes('<topology version="2.');
      }, 'the topology to be in a sandbox');
    },
  );

  test('a user may have it found out anew', async () => {
    const env = [{ name: 'HWLOC_XMLFILE', value: '' }];
    await group({
      name: 'own-topology',
      script: 'env',
      spec: {
        processes: [{ name: 'main', ranks: '0', command: ['/usr/bin/env'], env }],
      },
    });
    await ended('own-topology');
    const lines = (await logs('own-topology')).split('\n');
    expect(lines.filter((line) => line.startsWith('HWLOC'))).toEqual(['HWLOC_XMLFILE=']);
  });
});

describe.skipIf(!isRoot)('devices', () => {
  test.skipIf(offered === undefined)('one that is asked for and offered is there, no other is', async () => {
    const script = `ls /dev; exec 3<>${offered} && echo usable`;
    await group({ name: 'device', script, spec: { resources: { devices: ['tool'] } } });
    const name = basename(offered ?? '');
    await ended('device');
    const all = (await logs('device')).trim().split('\n');
    expect(all).toContain(offered?.startsWith('/dev/net') ? 'net' : name);
    expect(readdirSync('/dev').length).toBeGreaterThan(all.length);
    await group({ name: 'no-device', script: 'ls -R /dev' });
    await ended('no-device');
    expect((await logs('no-device')).split('\n')).not.toContain(name);
  });

  test('one that the node does not offer is refused', async () => {
    await group({ name: 'refused', script: 'true', spec: { resources: { devices: ['kmsg'] } } });
    const status = await ended('refused');
    expect(status?.exitSummary?.message).toContain('node1: device kmsg is not offered');
  });
});

describe('a root of its own', () => {
  test('an offered directory is the root of the sandbox', async () => {
    await group({
      name: 'rooted',
      script: 'test -e /only-here && ! test -e /usr/share && echo inside',
      spec: { root },
    });
    expect((await ended('rooted'))?.phase).toBe('Succeeded');
    expect(await logs('rooted')).toBe('inside\n');
  });

  test('any other directory is refused', async () => {
    await group({ name: 'unrooted', script: 'true', spec: { root: '/var' } });
    expect((await ended('unrooted'))?.exitSummary?.message).toContain('root /var is not allowed');
  });
});

describe.skipIf(!isRoot)('limits', () => {
  test('who uses more memory than the limit is ended, and rank, node and limit are told', async () => {
    await group({
      name: 'memory',
      size: 2,
      script: 'test $MUSTER_RANK = 0 && exec sleep 1000; exec dd if=/dev/zero of=/dev/null bs=400M count=1',
      spec: { limits: { memory: '64Mi' } },
    });
    const status = await ended('memory');
    expect(status?.conditions?.find(({ type }) => type === 'Failed')?.reason).toBe('MemoryExceeded');
    expect(status?.exitSummary).toMatchObject({ node: 'node1', rank: 1, reason: 'MemoryExceeded' });
    expect(status?.exitSummary?.message).toContain('rank 1 on node1 was ended for want of memory');
  });

  test('files in the private /dev/shm and /tmp are memory too', async () => {
    const script = 'dd if=/dev/zero of=/dev/shm/x bs=1M count=400 2>/dev/null';
    await group({ name: 'shm', script, spec: { limits: { memory: '64Mi' } } });
    expect((await ended('shm'))?.exitSummary?.reason).toBe('MemoryExceeded');
  });

  test('who uses more processor time than the limit is ended', async () => {
    await group({ name: 'cpu', script: 'while :; do :; done', spec: { limits: { cpuTimeSeconds: 1 } } });
    const status = await ended('cpu');
    expect(status?.exitSummary).toMatchObject({ reason: 'CpuTimeExceeded' });
    expect(status?.exitSummary?.message).toContain('limits.cpuTimeSeconds');
  });

  test('a fork bomb fills its own sandbox, is told of, and is ended as any job', async () => {
    await group({ name: 'bomb', script: 'bomb() { bomb | bomb & }; bomb; while :; do sleep 1000; done' });
    await eventually(
      async () =>
        (await cluster.done(['describe', 'pg', 'bomb'])).includes(
          'node lets a sandbox have 60 beside its ranks',
        ),
      'the event of the limit',
    );
    expect(await cluster.run(['-n', '1', '--nodes', 'node1', 'echo', 'alive'])).toMatchObject({
      code: 0,
      stdout: 'alive\n',
    });
    await cluster.done(['delete', 'pg', 'bomb']);
  });

  test('a job that fails for want of processes is told why', async () => {
    const script = 'i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i + 1)); done; exit 0';
    await group({ name: 'forks', script });
    expect((await ended('forks'))?.exitSummary?.message).toMatch(
      /^rank 0 on node1 exited with 2; its processes had reached the node's processesPerSandbox$/,
    );
  });
});

describe('suspendPolicy Stop', () => {
  test('suspending ends the ranks and gives back the node; resuming starts anew', async () => {
    await group({
      name: 'stopped',
      size: 2,
      script: 'trap "exit 0" TERM; echo begun; while ! test -e /var/tmp/go-$MUSTER_UID; do sleep 0.05; done',
      spec: { suspendPolicy: 'Stop', placement: { nodes: ['node1', 'node2'] } },
    });
    const shown = await cluster.get('pg', 'stopped');
    const go = `/var/tmp/go-${shown.metadata.uid}`;
    try {
      await eventually(async () => (await logs('stopped')) === 'begun\nbegun\n', 'both ranks to begin');
      await cluster.done(['suspend', 'stopped']);
      const { status } = await cluster.get('pg', 'stopped');
      expect(status?.conditions?.find(({ type }) => type === 'Suspended')).toMatchObject({
        status: 'True',
        reason: 'Vacated',
      });
      expect(status?.placement).toBeUndefined();
      await eventually(
        () => cluster.cgroups().every((path) => !path.includes(shown.metadata.uid)),
        'no sandbox',
      );
      await cluster.done(['resume', 'stopped']);
      await eventually(async () => (await logs('stopped')) === 'begun\nbegun\n', 'both ranks to begin anew');
      expect(
        (await cluster.get('pg', 'stopped')).status?.placement?.map((each) => each.incarnation),
      ).toContain(2);
      writeFileSync(go, '');
      expect((await ended('stopped'))?.phase).toBe('Succeeded');
    } finally {
      rmSync(go, { force: true });
    }
  });

  test('a group that was told to stop by kill -9 of the control plane in between ends up stopped', async () => {
    await group({
      name: 'stopped-2',
      script: 'trap "" TERM; while :; do sleep 0.1; done',
      spec: { suspendPolicy: 'Stop', gracePeriodSeconds: 2 },
    });
    await cluster.wait('stopped-2', 'Running');
    const suspending = cluster.spawn(['suspend', 'stopped-2'], { stdin: '' });
    await eventually(
      async () => (await cluster.condition('stopped-2', 'Suspended'))?.reason === 'Vacating',
      'the end to begin',
    );
    const record = readFileSync(join(cluster.home, 'run', 'controller.pid.json'), 'utf8');
    process.kill(Number(/\d+/.exec(record)?.[0]), 'SIGKILL');
    await suspending.result;
    await eventually(
      async () =>
        (await cluster.muster(['get', 'pg', 'stopped-2', '-o', 'json'])).stdout.includes(
          '"reason": "Vacated"',
        ),
      'the group to be vacated',
    );
    await cluster.done(['delete', 'pg', 'stopped-2']);
  });
});
