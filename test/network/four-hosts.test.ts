/**
 * Job networks over four hosts: who reaches whom, under which names and with packets of which size, and that nothing is left of
 * them however they end.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, programs } from '../hosts/cluster.ts';
import type { Host } from '../hosts/hosts.ts';
import { eventually } from '../hosts/processes.ts';
import { addressOf, parseSubnet } from '../../wire/job-addresses.ts';
import { Random } from '../survival/random.ts';
import { vxlanPacket } from './vxlan-packet.ts';

const four = 'node1,node2,node3,node4';
let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.make([{}, {}, {}, {}]);
});
afterEach(async () => {
  await cluster.heal();
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

const isolated = (args: readonly string[]) => cluster.muster(['run', '--network', 'isolated', ...args]);
const lines = (bytes: Buffer): string[] => bytes.toString().split('\n').slice(0, -1);

async function networkOf(name: string): Promise<{ subnet: string; vni: number }> {
  const { status } = (await cluster.group(name)) as {
    status?: { network?: { subnet: string; vni: number } };
  };
  return status!.network!;
}

/** Its agent starts again, and finds another cable, or is to be known by another address. */
async function restarted(
  name: string,
  { mtu, address }: { mtu?: number; address?: string } = {},
): Promise<void> {
  const host = cluster.host(name);
  await cluster.agents.get(name)!.end();
  if (mtu !== undefined) await host.setMtu(mtu);
  await cluster.startAgent(host, {}, address === undefined ? [] : ['--address', address]);
}

/** Links, tables and namespaces of jobs on a host. */
async function leftOn(host: Host): Promise<string[]> {
  const text = await host.sh(
    `ip -o link | sed -n 's/^[0-9]*: \\(m[bvsw][0-9a-z]*\\)[@:].*/link \\1/p'; nft list tables; lsns -t net -n -o ns,command | grep rank-init || true`,
  );
  return text.split('\n').filter((line) => line !== '');
}

async function nothingIsLeft(): Promise<void> {
  for (const host of cluster.hosts.all)
    await eventually(async () => (await leftOn(host)).length === 0, `nothing of a job on ${host.name}`).catch(
      async (error: unknown) => {
        throw new Error(`${String(error)}: ${(await leftOn(host)).join(', ')}`);
      },
    );
}

describe('a job in a network of its own', () => {
  it('has names and addresses that are not the nodes’', async () => {
    const script = 'hostname; grep names- /etc/hosts; cat /proc/sys/net/ipv4/tcp_retries2';
    const { code, stdout, stderr } = await isolated([
      '-n',
      '4',
      '-l',
      '--name',
      'names',
      '--nodes',
      four,
      'sh',
      '-c',
      script,
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const said = lines(stdout).filter((line) => line.startsWith('[3]'));
    const { status } = (await cluster.group('names')) as { status?: { network?: { subnet: string } } };
    const start = status!.network!.subnet.replace(/\.\d+\/28$/, '');
    expect(said[0]).toBe('[3] names-3');
    expect(said[1]).toMatch(new RegExp(`^\\[3\\] ${start}\\.\\d+ names-0$`));
    expect(said[4]).toMatch(new RegExp(`^\\[3\\] ${start}\\.\\d+ names-3$`));
    expect(said[5]).toBe('[3] 255');
  });

  it('passes every byte between every two ranks, within nodes and between them', async () => {
    const { code, stdout, stderr } = await isolated(['-n', '8', '--nodes', four, `${programs}/allpairs`]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toBe('DONE pairs=56 rounds=3 bytes=100000\n');
  });

  it('reaches the outside through its node, unless it may not', async () => {
    const other = cluster.host('node4');
    const { pid, child } = await other.start([
      process.execPath,
      '-e',
      `require('net').createServer((c) => c.end(c.remoteAddress)).listen(7100, '0.0.0.0', () => console.log('up'))`,
    ]);
    await new Promise((resolve) => child.stdout!.once('data', resolve));
    const client = `require('net').connect({ host: '${other.address}', port: 7100, timeout: 2000 })
      .on('data', (d) => console.log(String(d))).on('error', (e) => console.log(e.code))
      .on('timeout', function () { console.log('silence'); this.destroy(); })`;
    const say = async (more: string[]) =>
      (await isolated(['-n', '1', '--nodes', 'node1', ...more, process.execPath, '-e', client])).stdout
        .toString()
        .trim();
    expect(await say([])).toMatch(/10\.77\.0\.1$/);
    expect(await say(['--no-egress'])).toBe('ENETUNREACH');
    process.kill(pid, 'SIGKILL');
  });

  it('reaches nobody of another job, which may use the same ports', async () => {
    const serve = (name: string): string =>
      `require('net').createServer((c) => c.end('${name}')).listen(7000, () => console.log('up'))`;
    for (const name of ['one', 'two']) {
      const run = ['-n', '2', '--detach', '--name', name, '--nodes', 'node1,node2', process.execPath, '-e'];
      await isolated([...run, serve(name)]);
      await eventually(
        async () => lines(Buffer.from(await cluster.succeed(['logs', name]))).length === 2,
        `${name} up`,
      );
    }
    const own = addressOf(parseSubnet((await networkOf('one')).subnet), 1);
    const other = addressOf(parseSubnet((await networkOf('two')).subnet), 1);
    const ask = (
      address: string,
    ): string => `require('net').connect({ host: '${address}', port: 7000, timeout: 700 })
      .on('data', (d) => console.log(String(d))).on('error', (e) => console.log(e.code))
      .on('timeout', function () { console.log('silence'); this.destroy(); })`;
    const asked = async (address: string): Promise<string> =>
      (await cluster.succeed(['exec', 'one', '--', process.execPath, '-e', ask(address)])).trim();
    expect(await asked(own)).toBe('one');
    expect(await asked('one-1')).toBe('one');
    expect(await asked(other)).toBe('silence');
    const fromNode = await cluster.host('node2').run([process.execPath, '-e', ask(own)]);
    expect(fromNode.stdout.toString().trim()).not.toBe('one');
    for (const name of ['one', 'two']) await cluster.succeed(['delete', 'pg', name]);
  });

  it('hears only nodes that hold sandboxes of it', async () => {
    const hear = `require('dgram').createSocket('udp4').on('message', (m) => { console.log(String(m)); process.exit(0); })
      .bind(9000, () => console.log('up'))`;
    const job = ['-n', '2', '--detach', '--name', 'ears', '--nodes', 'node1,node2', 'sh', '-c'];
    await isolated([
      ...job,
      `[ $PMI_RANK = 1 ] && exec sleep 1000; exec "${process.execPath}" -e "$0"`,
      hear,
    ]);
    await eventually(async () => (await cluster.succeed(['logs', 'ears'])).includes('up'), 'ears open');
    const { subnet, vni } = await networkOf('ears');
    const tunnel = await cluster.host('node1').sh('ip -d -o link show type vxlan');
    const port = Number(/dstport (\d+)/.exec(tunnel)![1]);
    const [to, from] = [0, 1].map((ordinal) => addressOf(parseSubnet(subnet), ordinal));
    const packet = (text: string): string =>
      vxlanPacket({ vni, from: from!, to: to!, port: 9000, text }).toString('hex');
    const send = async (host: string, text: string): Promise<void> => {
      const script = `const s = require('dgram').createSocket('udp4');
        s.send(Buffer.from('${packet(text)}', 'hex'), ${port}, '${cluster.host('node1').address}', () => s.close())`;
      await cluster.host(host).run([process.execPath, '-e', script]);
    };
    for (let time = 0; time < 3; time++) await send('node4', 'stranger');
    await send('node2', 'friend');
    await eventually(async () => /friend|stranger/.test(await cluster.succeed(['logs', 'ears'])), 'a packet');
    expect(await cluster.succeed(['logs', 'ears', '--no-label'])).toBe('up\nfriend\n');
    await cluster.succeed(['delete', 'pg', 'ears']);
  });

  it.each([1280, 9000])('uses what a cable with packets of %i bytes can carry', async (mtu) => {
    for (const name of ['node3', 'node4']) await restarted(name, { mtu });
    const show = ['-n', '1', '--nodes', 'node4', 'cat', '/sys/class/net/eth0/mtu'];
    expect((await isolated(show)).stdout.toString()).toBe(`${mtu - 50}\n`);
    const { code, stdout, stderr } = await isolated([
      '-n',
      '4',
      '--nodes',
      'node3,node4',
      `${programs}/allpairs`,
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toContain('DONE pairs=12');
    // Where cables differ, the least counts.
    expect((await isolated(['-n', '2', '--nodes', 'node1,node4', ...show.slice(4)])).stdout.toString()).toBe(
      `${Math.min(1500, mtu) - 50}\n`.repeat(2),
    );
  });

  it('says so where a cable carries too little', async () => {
    await restarted('node4', { mtu: 1000 });
    const { code, stderr } = await isolated(['-n', '1', '--nodes', 'node4', 'true']);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/MUSTER_NETWORK_MTU: node node4: .* raise their MTU to 1280 or more/);
    for (const name of ['node3', 'node4']) await restarted(name, { mtu: 1500 });
  });

  it('goes over IPv6 where nodes are known by that', async () => {
    for (const [name, address] of [
      ['node3', 'fd77::3'],
      ['node4', 'fd77::4'],
    ] as const) {
      await cluster.host(name).sh(`ip address add ${address}/64 dev eth0 nodad`);
      await restarted(name, { address });
    }
    const { code, stdout, stderr } = await isolated([
      '-n',
      '4',
      '--nodes',
      'node3,node4',
      `${programs}/allpairs`,
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toContain('DONE pairs=12');
    const mixed = await isolated(['-n', '2', '--nodes', 'node1,node4', 'true']);
    expect(mixed.stderr).toContain('MUSTER_NETWORK_FAMILY');
    for (const name of ['node3', 'node4']) await restarted(name);
  });

  it('leaves nothing', nothingIsLeft);

  it('leaves nothing when agents are killed while jobs come and go', async () => {
    const random = new Random();
    const names = Array.from({ length: 100 }, (_, index) => `many-${index}`);
    let isDone = false;
    const killing = (async () => {
      while (!isDone) {
        const host = cluster.host(random.pick(['node2', 'node3', 'node4']));
        await cluster.agents.get(host.name)!.end('SIGKILL');
        await cluster.startAgent(host);
      }
    })();
    const left = [...names];
    const worker = async (): Promise<void> => {
      for (let name = left.pop(); name !== undefined; name = left.pop()) {
        const nodes = random.pick(['node1,node2', 'node2,node3', 'node3,node4', four]);
        const command = random.pick([['true'], ['sleep', '1000'], ['sleep', '1000'], [`${programs}/cpi`]]);
        await isolated(['-n', '4', '--detach', '--name', name, '--nodes', nodes, ...command]);
        await pause(random.between(0, 300));
        await cluster.succeed(['delete', 'pg', name, '--no-wait']);
      }
    };
    await Promise.all([worker(), worker(), worker()]);
    isDone = true;
    await killing;
    const isGone = async (): Promise<boolean> =>
      !(await cluster.succeed(['get', 'pg', '-o', 'name'])).includes('many-');
    await eventually(isGone, 'no group', 30_000).catch(async (error: unknown) => {
      const seen = await cluster.succeed(['get', 'pg', '-o', 'yaml']);
      throw new Error(`MUSTER_SEED=${random.seed}: ${String(error)}\n${seen}`, { cause: error });
    });
    await nothingIsLeft().catch((error: unknown) => {
      throw new Error(`MUSTER_SEED=${random.seed}: ${String(error)}`, { cause: error });
    });
  }, 300_000);
});
