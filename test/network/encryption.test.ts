/**
 * Job networks whose tunnels are encrypted, over two hosts: what a rank sends is on the wire nowhere to be read, the tunnels go on
 * without agents, nobody gets in beside them, a node that cannot encrypt gets no such job, and nothing is left.
 */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, programs } from '../hosts/cluster.ts';
import { eventually } from '../hosts/processes.ts';
import { addressOf, parseSubnet } from '../../wire/job-addresses.ts';
import { vxlanPacket } from './vxlan-packet.ts';

const secret = 'attack at dawn, and tell nobody';
let cluster: Cluster;

beforeAll(async () => {
  const up = ['--network-encryption', 'WireGuard', '--network-families', 'DualStack'];
  cluster = await Cluster.make([{}, {}], {}, { supervised: false, up });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

/** Rank 1 sends the secret over and over; rank 0 tells how much has come, and whom it hears by UDP. */
const script = `
  const peer = require('os').hostname().replace(/\\d+$/, '0');
  const udp = require('dgram').createSocket('udp4');
  if (process.env.PMI_RANK === '0') {
    let bytes = 0;
    require('net').createServer((c) => c.on('data', (d) => (bytes += d.length))).listen(7000);
    udp.on('message', (m) => console.log('heard ' + m)).bind(9000);
    require('net').createServer((c) => console.log('six from ' + c.remoteAddress)).listen(7001, '::');
    setInterval(() => console.log('bytes ' + bytes), 50);
  } else {
    const connect = (to, then) => {
      const c = require('net').connect(to, () => then(c));
      c.on('error', () => setTimeout(connect, 50, to, then));
    };
    connect({ port: 7000, host: peer }, (c) => setInterval(() => c.write('${secret}; '.repeat(100)), 20));
    connect({ port: 7001, host: peer, family: 6 }, () => undefined);
    setInterval(() => udp.send('friend', 9000, peer, () => undefined), 20);
  }`;

const linesOf = async (start: string): Promise<string[]> =>
  (await cluster.succeed(['logs', 'secret', '-r', '0', '--no-label']))
    .split('\n')
    .filter((line) => line.startsWith(start))
    .map((line) => line.slice(start.length));
const tunnelPort = async (): Promise<number> =>
  Number(/dstport (\d+)/.exec(await cluster.host('node1').sh('ip -d -o link show type vxlan'))![1]);
const bytesCome = async (): Promise<number> => Number((await linesOf('bytes ')).at(-1) ?? 0);
async function moreComes(): Promise<void> {
  const before = await bytesCome();
  await eventually(async () => (await bytesCome()) > before + 50_000, 'more to come').catch(
    async (error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(await cluster.group('secret'))}`);
    },
  );
}

describe('a network whose tunnels are encrypted', () => {
  it('is read by nobody on the wire, and goes on without agents', async () => {
    const [one, two] = [cluster.host('node1'), cluster.host('node2')];
    const { child } = await one.start([`${programs}/eavesdrop`, 'eth0', secret]);
    await once(child.stdout!, 'data');
    const said = once(child.stdout!, 'data') as Promise<[Buffer]>;
    const job = ['-n', '2', '--detach', '--name', 'secret', '--nodes', 'node1,node2'];
    const { code, stderr } = await cluster.muster(['run', ...job, process.execPath, '-e', script]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    await moreComes();
    const { status } = await cluster.group('secret');
    expect(status).toMatchObject({ network: { encryption: 'WireGuard' }, resolved: { network: 'Isolated' } });
    const mtu = await cluster.succeed(['exec', 'secret', '--', 'cat', '/sys/class/net/eth0/mtu']);
    expect(mtu.trim()).toBe(String(1500 - 60 - 70));

    for (const agent of [...cluster.agents.values()]) await agent.end('SIGKILL');
    for (const host of [one, two]) await cluster.startAgent(host);
    const isRead = async (): Promise<boolean> => (await cluster.muster(['logs', 'secret'])).code === 0;
    await eventually(isRead, 'the control plane to know both agents again');
    await moreComes();

    // The one frame that it finds shows that it looks: to a port where it is no packet of WireGuard, and not answered.
    const port = (await tunnelPort()) + 10_000;
    const plain = `require('dgram').createSocket('udp4').send('${secret}', ${port}, '${one.address}', () => process.exit())`;
    await two.run([process.execPath, '-e', plain]);
    child.stdin!.end();
    const { frames, withText } = JSON.parse((await said)[0].toString()) as Record<string, number>;
    expect(frames).toBeGreaterThan(100);
    expect(withText).toBe(1);
  });

  it('has addresses by IPv6 beside the others, which /etc/hosts names', async () => {
    const hosts = await cluster.succeed(['exec', 'secret', '--', 'grep', 'secret-', '/etc/hosts']);
    const lines = hosts.trim().split('\n');
    expect(lines.map((line) => line.split(' ')[1])).toEqual(['secret-0', 'secret-0', 'secret-1', 'secret-1']);
    const [, , , six] = lines.map((line) => line.split(' ')[0]!);
    expect(six).toMatch(/^fd6d:4d75:/);
    await eventually(async () => (await linesOf('six from ')).length > 0, 'a connection by IPv6');
    expect(await linesOf('six from ')).toEqual([six]);
  });

  it('reaches the outside by IPv6 through its node, which becomes no router by that', async () => {
    const [one, two] = [cluster.host('node1'), cluster.host('node2')];
    for (const [host, address] of [
      [one, 'fd77::1'],
      [two, 'fd77::2'],
    ] as const)
      // prettier-ignore
      await host.sh(`ip address add ${address}/64 dev eth0 nodad`);
    const { child, pid } = await two.start([
      process.execPath,
      '-e',
      `require('net').createServer((c) => c.end(c.remoteAddress)).listen(7200, 'fd77::2', () => console.log('up'))`,
    ]);
    await once(child.stdout!, 'data');
    const ask = `require('net').connect({ host: 'fd77::2', port: 7200, timeout: 2000 })
      .on('data', (d) => console.log(String(d))).on('error', (e) => console.log(e.code))
      .on('timeout', function () { console.log('silence'); this.destroy(); })`;
    const run = ['run', '-n', '1', '--nodes', 'node1'];
    const say = async (...more: string[]): Promise<string> =>
      (await cluster.succeed([...run, ...more, process.execPath, '-e', ask])).trim();
    expect(await say()).toBe('fd77::1');
    expect(await say('--network', 'isolated', '--no-egress')).toBe('ENETUNREACH');
    expect((await one.sh('cat /proc/sys/net/ipv6/conf/all/forwarding')).trim()).toBe('0');
    process.kill(pid, 'SIGKILL');
    for (const [host, address] of [
      [one, 'fd77::1'],
      [two, 'fd77::2'],
    ] as const)
      // prettier-ignore
      await host.sh(`ip address del ${address}/64 dev eth0`);
  });

  it('takes nothing that comes beside it, from whatever address', async () => {
    const { network } = (await cluster.group('secret')).status as {
      network: { subnet: string; vni: number };
    };
    const port = await tunnelPort();
    const [to, from] = [0, 1].map((ordinal) => addressOf(parseSubnet(network.subnet), ordinal));
    const packet = vxlanPacket({ vni: network.vni, from: from!, to: to!, port: 9000, text: 'stranger' });
    // From where node2 is known within the tunnels, too.
    const sealed = (await cluster.host('node2').sh('ip -6 -o address show')).match(/fd4d:[0-9a-f:]+/)![0];
    const target = (await cluster.host('node1').sh('ip -6 -o address show')).match(/fd4d:[0-9a-f:]+/)![0];
    await cluster
      .host('node2')
      .sh(`ip -6 address add ${sealed}/128 dev eth0 nodad; ip -6 route add ${target}/128 dev eth0`);
    const mac = (await cluster.host('node1').sh('cat /sys/class/net/eth0/address')).trim();
    await cluster.host('node2').sh(`ip -6 neighbour replace ${target} lladdr ${mac} dev eth0`);
    const send = `const hex = '${packet.toString('hex')}';
      const to = [['udp4', '${cluster.host('node1').address}'], ['udp6', '${target}']];
      for (const [kind, address] of to) require('dgram').createSocket(kind).send(Buffer.from(hex, 'hex'), ${port}, address);
      setTimeout(() => process.exit(), 100);`;
    await cluster.host('node2').run([process.execPath, '-e', send]);
    await cluster
      .host('node2')
      .sh(`ip -6 route del ${target}/128 dev eth0; ip -6 address del ${sealed}/128 dev eth0`);
    const friends = (await linesOf('heard friend')).length;
    await eventually(async () => (await linesOf('heard friend')).length > friends + 2, 'friends to be heard');
    expect(await linesOf('heard stranger')).toEqual([]);
  });

  it('leaves nothing', async () => {
    await cluster.succeed(['delete', 'pg', 'secret']);
    const left = `ip -o link | sed -n 's/^[0-9]*: \\(m[bvsw][0-9a-z]*\\)[@:].*/\\1/p'; nft list tables; pgrep wireguard-go || true`;
    for (const host of cluster.hosts.all)
      await eventually(async () => (await host.sh(left)).trim() === '', `nothing on ${host.name}`);
  });

  it('is not had where a node cannot encrypt, and the group says why', async () => {
    const host = cluster.host('node2');
    await host.sh('mount --bind /bin/false /usr/bin/wg');
    await cluster.agents.get('node2')!.end();
    await cluster.startAgent(host);
    await cluster.muster(['run', '-n', '1', '--detach', '--name', 'open', '--nodes', 'node2', 'true']);
    await eventually(async () => {
      const { status } = await cluster.group('open');
      const placed = (status?.['conditions'] as { type: string; message: string }[]).find(
        ({ type }) => type === 'Placed',
      );
      return placed?.message.includes(
        'cannot encrypt tunnels of network Isolated: wg does not start: install wireguard-tools',
      );
    }, 'the reason');
    await cluster.succeed(['delete', 'pg', 'open']);
  });
});
