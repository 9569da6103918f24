import { crc32 } from 'node:zlib';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, collect, joinArguments, muster, programs } from './cluster.ts';
import { Hosts } from './hosts.ts';
import { eventually, execute } from './processes.ts';

const four = 'node1,node2,node3,node4';
/** A user's directory that only the fourth host has, on a file system of its own. */
const userHome = '/home/user';

let cluster: Cluster;
/** Of this machine, that hosts could have left; others may come and go meanwhile. */
const interfaces = (): string[] =>
  readdirSync('/sys/class/net').filter((name) => /^(bridge|port-.*)$/.test(name));
const interfacesBefore = interfaces();

beforeAll(async () => {
  cluster = await Cluster.make([{}, {}, {}, { separate: ['/run', '/tmp', '/home'] }]);
  await cluster
    .host('node4')
    .sh(`mkdir -p ${userHome}; cp -r ${programs}/. ${userHome}/; chmod -R a+rX ${userHome}`);
});

let isOver = false;
afterEach(async () => {
  if (!isOver) await cluster.heal();
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

/** Bytes of no pattern, the same each time. */
function inputOf(bytes: number): Buffer {
  const input = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at++) input[at] = (at * 2_654_435_761) >>> 13;
  return input;
}

const run = (args: readonly string[], options: Parameters<Cluster['muster']>[1] = {}) =>
  cluster.muster(['run', ...args], options);
const lines = (bytes: Buffer): string[] => bytes.toString().split('\n').slice(0, -1);

describe('four hosts', () => {
  it('run a rank each, on the hosts’ network in a sandbox that has the host’s name', async () => {
    const { code, stdout, stderr } = await run([
      '-n',
      '4',
      '-l',
      '--network',
      'host',
      '--nodes',
      four,
      'hostname',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(lines(stdout).sort()).toEqual(['[0] node1', '[1] node2', '[2] node3', '[3] node4']);
  });

  it('compute pi', async () => {
    const { code, stdout, stderr } = await run(['-n', '8', '--nodes', four, `${programs}/cpi`]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toMatch(/3\.14159/);
  });

  it('pass blocks round a ring over the bridge, by the hosts’ addresses', async () => {
    const received = async (name: string): Promise<number> =>
      Number(await cluster.host(name).sh('cat /proc/net/dev | sed -n "s/^ *eth0: *\\([0-9]*\\).*/\\1/p"'));
    const before = await Promise.all(cluster.hosts.all.map((host) => received(host.name)));
    const { code, stdout, stderr } = await run([
      '-n',
      '8',
      '--nodes',
      four,
      `${programs}/ring`,
      '--iterations',
      '50',
      '--bytes',
      '65536',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toMatch(/^DONE iterations=50 ranks=8 checksum=[0-9a-f]{16}$/m);
    const after = await Promise.all(cluster.hosts.all.map((host) => received(host.name)));
    for (const [index, bytes] of after.entries()) expect(bytes - before[index]!).toBeGreaterThan(50 * 65_536);
  });

  it('run two coupled programs as one job', async () => {
    const { code, stdout, stderr } = await run([
      '-n',
      '2',
      '--nodes',
      four,
      `${programs}/coupler-a`,
      '200',
      ':',
      '-n',
      '2',
      `${programs}/coupler-b`,
      '200',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(lines(stdout).sort()).toEqual([
      expect.stringMatching(/^coupler-a DONE ranks=2 of=4 appnum=0 steps=200 /),
      expect.stringMatching(/^coupler-b DONE ranks=2 of=4 appnum=1 steps=200 /),
    ]);
  });

  it('run a user’s program from a /home that is a file system of its own', async () => {
    const { code, stdout, stderr } = await run([
      '-n',
      '2',
      '--nodes',
      'node4',
      `${userHome}/ring`,
      '--iterations',
      '20',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toMatch(/^DONE iterations=20 ranks=2 /);
  });

  it('keep their own /run and /tmp out of sandboxes', async () => {
    await cluster.host('node4').sh('touch /run/of-the-host /tmp/of-the-host');
    const { code, stdout } = await run(['-n', '1', '--nodes', 'node4', 'sh', '-c', 'ls -A /run /tmp']);
    expect(code).toBe(0);
    // What the agent shows every rank (hwloc's topology), and nothing of the host's.
    expect(stdout.toString()).toBe('/run:\nmuster\n\n/tmp:\n');
  });
});

describe('output and input of remote hosts', () => {
  it('relays 20 MB, byte for byte', async () => {
    const { code, stdout, stderr } = await run([
      '-n',
      '1',
      '--nodes',
      'node3',
      `${programs}/outgen`,
      '20',
      '4096',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const expected = await execute([`${programs}/outgen`, '20', '4096']);
    expect(stdout.length).toBe(20 * 1_048_576);
    expect(stdout.equals(expected.stdout)).toBe(true);
  });

  it('relays 20 MB from each of three hosts at once, every rank’s lines whole and in order', async () => {
    const { code, stdout, stderr } = await run([
      '-n',
      '3',
      '-l',
      '--nodes',
      'node2,node3,node4',
      `${programs}/outgen`,
      '20',
      '4096',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const seen = [0, 0, 0];
    for (const line of lines(stdout)) {
      const [, rank, said, sequence] = /^\[(\d)\] (\d{7}) (\d{11}) o+$/.exec(line) ?? [];
      if (Number(rank) !== Number(said) || Number(sequence) !== seen[Number(rank)])
        throw new Error(`torn or out of order: ${line.slice(0, 60)}`);
      seen[Number(rank)]!++;
    }
    expect(seen).toEqual([5120, 5120, 5120]);
  });

  it('relays 20 MB of input to a rank on another host, then its end', async () => {
    const input = inputOf(20_000_003);
    const { code, stdout, stderr } = await run(['-n', '2', '--nodes', 'node2,node3', `${programs}/incount`], {
      input,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const crc = crc32(input).toString(16).padStart(8, '0');
    expect(
      lines(stdout)
        .map((line) => line.replace(/ reads=\d+$/, ''))
        .sort(),
    ).toEqual(['bytes=0 crc32=00000000', `bytes=20000003 crc32=${crc}`]);
  });
});

describe('how a job ends on other hosts', () => {
  it.each([1, 42, 127, 255])('exit code %i of a remote rank is the job’s', async (status) => {
    const { code, stderr } = await run([
      '-n',
      '3',
      '--nodes',
      'node2,node3,node4',
      `${programs}/exitwith`,
      '--rank',
      '1',
      'code',
      String(status),
    ]);
    expect(code).toBe(status);
    expect(stderr).toMatch(/rank 1/);
    expect(stderr).toMatch(/node3/);
  });

  it('a signal that ends a remote rank is told as a shell tells it', async () => {
    const { code, stderr } = await run([
      '-n',
      '2',
      '--nodes',
      'node2,node4',
      `${programs}/exitwith`,
      '--rank',
      '1',
      'signal',
      '11',
    ]);
    expect(code).toBe(128 + 11);
    expect(stderr).toMatch(/rank 1.*node4/s);
  });

  it('tells a program that one host of three does not have, with rank and node', async () => {
    for (const name of ['node2', 'node4']) {
      const { base } = cluster.host(name);
      await cluster
        .host(name)
        .sh(`mkdir -p ${base}/bin; cp /bin/sleep ${base}/bin/wait; chmod -R a+rX ${base}/bin`);
    }
    const { code, stderr } = await run([
      '-n',
      '3',
      '--nodes',
      'node2,node3,node4',
      `${cluster.hosts.base}/bin/wait`,
      '1000',
    ]);
    expect(code).toBe(127);
    expect(stderr).toMatch(/rank 1/);
    expect(stderr).toMatch(/node3/);
    expect(stderr).toMatch(/bin\/wait/);
    expect(stderr).toMatch(/no such file/i);
  });
});

describe('joining', () => {
  /** An agent that must not come up; what it said. */
  async function refused(args: readonly string[], env: Record<string, string> = {}): Promise<string> {
    const host = cluster.host('node2');
    const fresh = { MUSTER_HOME: `${host.base}/other`, ...env };
    const { child, pid } = await host.start([muster, 'agent', ...args], fresh);
    const said = collect(child);
    const code = await Promise.race([
      new Promise<number | null>((resolve) => child.once('close', resolve)),
      eventually(() => child.exitCode ?? child.signalCode ?? undefined, 'the end of a refused agent').catch(
        () => {
          process.kill(pid, 'SIGKILL');
          return 'ran on';
        },
      ),
    ]);
    expect({ code, said: said() }).toEqual({ code: 1, said: expect.any(String) as string });
    await host.sh(`rm -rf ${host.base}/other`);
    return said();
  }

  it('refuses a token that was used', async () => {
    const ticket = await cluster.ticket();
    const host = cluster.host('node3');
    const { child, pid } = await host.start([muster, 'agent', '--node', 'guest', ...joinArguments(ticket)], {
      MUSTER_HOME: `${host.base}/guest`,
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await eventually(() => cluster.isReady('guest'), 'node guest to be ready');
    expect(await refused(['--node', 'second', ...joinArguments(ticket)])).toMatch(
      /token was used by node guest/,
    );
    process.kill(pid, 'SIGTERM');
    await ended;
    await host.sh(`rm -rf ${host.base}/guest`);
    await cluster.succeed(['delete', 'nm', 'guest']);
  });

  it('refuses a token that has ended', async () => {
    const ticket = await cluster.ticket(['--ttl', '1']);
    const ended = performance.now() + 1_100;
    await eventually(() => performance.now() > ended, 'the end of the token');
    expect(await refused(['--node', 'late', ...joinArguments(ticket)])).toMatch(/token ended at/);
  });

  it('sends no token to an authority of another hash', async () => {
    const ticket = await cluster.ticket();
    const caHash = `sha256:${'0'.repeat(64)}`;
    expect(await refused(['--node', 'misled', ...joinArguments({ ...ticket, caHash })])).toMatch(
      /does not belong to the authority/,
    );
    // It was not used up: the right hash goes on with it.
    expect(await refused(['--node', 'node3', ...joinArguments(ticket)])).toMatch(/node3 has joined before/);
  });

  it.each(['node3', 'node1'])('refuses a second node named %s', async (name) => {
    expect(await refused(['--node', name, ...joinArguments(await cluster.ticket())])).toMatch(
      new RegExp(`${name} .*another`),
    );
    expect(await cluster.isReady(name)).toBe(true);
  });

  it('refuses an agent with a certificate of another cluster', async () => {
    const host = cluster.host('node2');
    const other = { MUSTER_HOME: `${host.base}/cluster2` };
    const up = await host.run([muster, 'up', '--detach', '--agents', '1', '--listen', host.address], {
      env: other,
    });
    expect({ code: up.code, stderr: up.stderr }).toEqual({ code: 0, stderr: '' });
    await host.run([muster, 'down'], { env: other });
    // Its node1 turns to our hub with what it has.
    const joined = await cluster
      .host('node3')
      .sh(`cat ${cluster.host('node3').home}/nodes/node3/joined.json`);
    await host.sh(`printf '%s' '${joined.trim()}' > ${host.base}/cluster2/nodes/node1/joined.json`);
    const { child, pid } = await host.start([muster, 'agent', '--node', 'node1'], other);
    const said = collect(child);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await eventually(
      () => /certificate|MUSTER_HUB|self.signed|unable to verify/i.test(said()),
      'a refusal',
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${said()}`);
    });
    process.kill(pid, 'SIGTERM');
    await ended;
    await host.sh(`rm -rf ${host.base}/cluster2`);
    const { code, stdout } = await run(['-n', '1', '--network', 'host', '--nodes', 'node1', 'hostname']);
    expect({ code, said: stdout.toString() }).toEqual({ code: 0, said: 'node1\n' });
  });
});

describe('an agent that is away', () => {
  it('cut off for 5 s, or killed and started again: nothing happens to the job', async () => {
    const running = run([
      '-n',
      '4',
      '-l',
      '--nodes',
      four,
      'sh',
      '-c',
      'i=0; while [ $i -lt 90 ]; do i=$((i+1)); echo $i; sleep 0.1; done',
    ]);
    await eventually(
      async () =>
        (await cluster.muster(['get', 'pg', '-o', 'json'])).stdout.toString().includes('"phase": "Running"'),
      'a running job',
    );
    await cluster.host('node3').link(false);
    await cluster.agents.get('node2')!.end('SIGKILL');
    const back = performance.now() + 5_000;
    await eventually(() => performance.now() > back, '5 s of silence');
    await cluster.host('node3').link(true);
    await cluster.startAgent(cluster.host('node2'));
    const { code, stdout, stderr } = await running;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (let rank = 0; rank < 4; rank++) {
      const own = lines(stdout).filter((line) => line.startsWith(`[${rank}] `));
      expect(own).toEqual(Array.from({ length: 90 }, (_, index) => `[${rank}] ${index + 1}`));
    }
  });

  it.each(['rotate', 'block'])(
    'killed again and again while its output is relayed to a slow reader (%s): every line once, whole, in order',
    async (whenFull) => {
      const [mebibytes, lineBytes] = [12, 4000];
      const job = `${muster} run -n 2 -l --nodes node2,node3 --ppn 1 --when-full ${whenFull} --log-quota ${whenFull === 'block' ? '512Ki' : '1Gi'}`;
      const slowly = '{ for i in $(seq 80); do head -c 200000; sleep 0.05; done; cat; }';
      const command = `${job} ${programs}/outgen ${mebibytes} ${lineBytes} | ${slowly}`;
      const running = cluster.host('node1').run(['bash', '-o', 'pipefail', '-c', command]);
      for (const name of ['node2', 'node3', 'node2']) {
        const pause = performance.now() + 700;
        await eventually(() => performance.now() > pause, 'some output');
        await cluster.agents.get(name)!.end('SIGKILL');
        await cluster.startAgent(cluster.host(name));
      }
      const { code, stdout, stderr } = await running;
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const next = [0, 0];
      for (const line of lines(stdout)) {
        const [, label, rank, count] = /^\[(\d)\] 000000(\d) (\d{11}) o*$/.exec(line) ?? [];
        const at = Number(rank);
        if (label !== rank || line.length !== lineBytes + 3 || Number(count) !== next[at])
          throw new Error(`rank ${at}, line ${next[at]}: ${line.slice(0, 40)} of ${line.length} bytes`);
        next[at]++;
      }
      const expected = Math.floor((mebibytes * 1048576) / lineBytes);
      expect(next).toEqual([expected, expected]);
    },
  );

  it('killed again and again, or cut off, while it takes input: no byte is lost or doubled', async () => {
    const input = inputOf(20_000_003);
    // Slower than the input comes: 64 KiB every 20 ms.
    const running = run(['-n', '1', '--nodes', 'node2', `${programs}/incount`, '65536', '20000'], { input });
    for (let kill = 0; kill < 3; kill++) {
      const pause = performance.now() + 300 + 200 * kill;
      await eventually(() => performance.now() > pause, 'some input');
      await cluster.agents.get('node2')!.end('SIGKILL');
      await cluster.startAgent(cluster.host('node2'));
    }
    await cluster.host('node2').link(false);
    const back = performance.now() + 1_000;
    await eventually(() => performance.now() > back, 'a second of silence');
    await cluster.host('node2').link(true);
    const { code, stdout, stderr } = await running;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const crc = crc32(input).toString(16).padStart(8, '0');
    expect(stdout.toString()).toContain(`bytes=20000003 crc32=${crc} `);
  });
});

describe('clocks an hour apart', () => {
  const library = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketime.so.1`;

  it('harm neither joining nor jobs', async () => {
    if (!existsSync(library)) throw new Error(`${library} is missing: apt-get install libfaketime`);
    const clock = (hours: string) => ({
      LD_PRELOAD: library,
      FAKETIME: `${hours}h`,
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    });
    await using askew = await Cluster.make([{}, {}, {}], { node2: clock('-1'), node3: clock('+1') });
    const times = await Promise.all(
      ['node2', 'node3'].map(async (name) => {
        const logged = /"time":(\d+)/.exec(askew.agents.get(name)!.said());
        return (Number(logged?.[1]) - Date.now()) / 3_600_000;
      }),
    );
    expect(times[0]).toBeCloseTo(-1, 1);
    expect(times[1]).toBeCloseTo(1, 1);
    const { code, stdout, stderr } = await askew.muster([
      'run',
      '-n',
      '6',
      '--nodes',
      'node1,node2,node3',
      `${programs}/ring`,
      '--iterations',
      '20',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toMatch(/^DONE iterations=20 ranks=6 /);
    for (const name of ['node1', 'node2', 'node3']) expect(await askew.isReady(name)).toBe(true);
  });
});

describe('afterwards', () => {
  it('nothing is left: no process, no cgroup, no interface, no mount, no directory', async () => {
    isOver = true;
    await cluster.succeed(['down']);
    await Promise.all([...cluster.agents.values()].map((agent) => agent.end()));
    for (const host of cluster.hosts.all) {
      await eventually(async () => (await host.processes()).length === 0, `no process on ${host.name}`).catch(
        async (error: unknown) => {
          throw new Error(`${String(error)}: ${(await host.processes()).join(', ')}`);
        },
      );
      const mounts = (await host.sh('cat /proc/1/mountinfo'))
        .split('\n')
        .filter((line) => line.includes('muster-') && !line.includes(' - tmpfs '));
      expect(mounts).toEqual([]);
    }
    const sandboxes = cluster.hosts
      .cgroups()
      .filter((path) => /[0-9a-f]{8}-[0-9a-f]{4}-.*-\d+-\d+$/.test(path));
    expect(sandboxes).toEqual([]);
    await cluster.hosts[Symbol.asyncDispose]();
    expect(existsSync(cluster.hosts.base)).toBe(false);
    expect(cluster.hosts.cgroups()).toEqual([]);
    expect(interfaces()).toEqual(interfacesBefore);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(cluster.hosts.base);
  });
});

describe('a test that is killed', () => {
  it('leaves no process, and its empty rest is swept', async () => {
    const script = `const { Hosts } = await import(${JSON.stringify(new URL('hosts.ts', import.meta.url).href)});
      const hosts = await Hosts.make([{}]); console.log(hosts.base, hosts.all[0].pid); process.kill(process.pid, 'SIGKILL');`;
    const { signal, stdout } = await execute([
      process.execPath,
      '--input-type=module-typescript',
      '-e',
      script,
    ]);
    expect(signal).toBe('SIGKILL');
    const [base, pid] = stdout.toString().trim().split(' ');
    await eventually(() => !existsSync(`/proc/${pid}/ns/net`), 'the end of the host');
    expect(existsSync(base!)).toBe(true);
    await using hosts = await Hosts.make([{}]);
    expect(hosts.base).not.toBe(base);
    expect(existsSync(base!)).toBe(false);
  });
});
