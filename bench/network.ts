/**
 * The network of a job: latency and throughput between two sandboxes on one node, against a bare veth and bridge and the host's
 * own loopback, and between two nodes, against a plain VXLAN, with and without the bridge and veth that a namespace of one's own needs,
 * and the hosts' own network, by a TCP connection and by MPI; how long
 * a sandbox's part takes to make and take away; how many jobs a second. Nodes are network namespaces on this machine, so all of
 * it is what the processors make of it. `MUSTER_BENCH_ROUNDS` changes how often.
 */
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Cluster as HostCluster, muster } from '../test/hosts/cluster.ts';
import type { Host } from '../test/hosts/hosts.ts';
import { Cluster, programs } from './kit/cluster.ts';
import { run, type Command } from './kit/command.ts';
import { interleaved, interleavedSets, median, print, printPair, rounded, type Pair } from './kit/report.ts';

const rounds = Number(process.env['MUSTER_BENCH_ROUNDS'] ?? 5);
const slotMs = '400';
const names = ['latencyUs', 'mbPerSecond'] as const;
type Set = Record<(typeof names)[number], number>;
const [netpipe, pingpong] = [path.join(programs, 'netpipe'), path.join(programs, 'pingpong')];

const script = (name: string): string => path.join(import.meta.dirname, 'kit', `${name}.ts`);
const setOf = ({ stdout }: { readonly stdout: string }): Set => JSON.parse(stdout) as Set;
const units = { latencyUs: 'us', mbPerSecond: 'MB/s' };

async function compare(where: object, peer: string, pair: Pair<Set>): Promise<void> {
  const sets = await interleavedSets(rounds, names, pair);
  for (const name of names) printPair('network', { ...where, figure: name }, peer, sets[name], units[name]);
}

let count = 0;
async function pingpongOf(of: (...args: string[]) => Command, kind: 'isolated' | 'host'): Promise<Set> {
  const own = ['--name', `bench-${String(++count)}`, '--network', kind, '-n', '2', '--nodes', 'node1,node2'];
  return setOf(await run(of('run', ...own, pingpong, slotMs)));
}

const inHost = (host: Host, ...argv: string[]): Command => {
  const [file, ...args] = [...host.enter, ...argv];
  return { file: file!, args, env: host.environment() };
};

/** From one place to another, the words before a command being what takes it there. */
async function tcp(server: Command, asker: Command, address: string): Promise<Set> {
  const there = ({ file, args, env }: Command, ...argv: string[]): Command => ({
    ...{ file, args: [...args, netpipe, ...argv] },
    ...(env && { env }),
  });
  const served = run(there(server, 'serve', '7001'));
  const set = setOf(await run(there(asker, 'ask', address, '7001', slotMs)));
  await served;
  return set;
}

/** Network namespaces in a job network as agents make it, and the end of it. */
async function plugged(
  host: Host,
  ...members: string[]
): Promise<{ places: Command[]; end: () => Promise<void> }> {
  const { child } = await host.start([process.execPath, script('plugged'), host.address, ...members]);
  const wanted = members.find((member) => member.startsWith(`${host.address}=`))!.split(',').length;
  const places: Command[] = [];
  child.stderr!.pipe(process.stderr);
  for await (const line of createInterface(child.stdout!)) {
    places.push(inHost(host, 'nsenter', `--net=${line}`, '--'));
    if (places.length === wanted) break;
  }
  const end = async (): Promise<void> => {
    child.stdin!.end();
    if (child.exitCode === null) await once(child, 'exit');
  };
  return { places, end };
}

/** A tunnel alone, for processes of the host (10.78.0.0/24), and one as sandboxes have it, behind a bridge and a veth (10.79.0.0/24). */
async function plainVxlans(host: Host, other: Host, last: number): Promise<void> {
  const tunnel = (name: string, id: number): string =>
    `ip link add ${name} type vxlan id ${String(id)} local ${host.address} remote ${other.address} dstport ${String(24_700 + id)} nolearning`;
  await host.sh(`
    ${tunnel('plain', 77)}; ip address add 10.78.0.${String(last)}/24 dev plain; ip link set plain up
    mkdir -p /run/netns; mount -t tmpfs plain /run/netns; ip netns add plain; ip link add switch type bridge forward_delay 0; ip link set switch mtu 1450 up
    ${tunnel('behind', 78)}; ip link set behind master switch; ip link set behind up
    ip link add port mtu 1450 type veth peer name eth0 mtu 1450 netns plain; ip link set port master switch; ip link set port up
    ip -n plain address add 10.79.0.${String(last)}/24 dev eth0; ip -n plain link set eth0 up`);
}

{
  await using cluster = await HostCluster.make([{}, {}, {}, {}]);
  const [one, two] = [cluster.host('node1'), cluster.host('node2')];
  const onHosts = (...args: string[]): Command => inHost(one, muster, ...args);
  await using machine = await Cluster.up(2);
  const here = (...args: string[]): Command => machine.command(...args);

  // Peers are on hosts of their own, which have none of our rules.
  const [three, four] = [cluster.host('node3'), cluster.host('node4')];
  const [first, second] = [inHost(three), inHost(four)];
  const bare = (): Promise<Set> => tcp(first, second, three.address);
  const alone = await plugged(one, `${one.address}=0,1`);
  const near = { where: 'one node', program: 'tcp' };
  const within = (): Promise<Set> => tcp(alone.places[0]!, alone.places[1]!, '100.64.1.2');
  await compare(near, 'bare veth and bridge', { ours: within, theirs: bare });
  await compare(near, 'host loopback', { ours: within, theirs: () => tcp(first, first, '127.0.0.1') });
  await alone.end();

  await plainVxlans(three, four, 1);
  await plainVxlans(four, three, 2);
  const both = [`${one.address}=0`, `${two.address}=1`];
  const ends = [await plugged(one, ...both), await plugged(two, ...both)] as const;
  const far = { where: 'two nodes', program: 'tcp' };
  const between = (): Promise<Set> => tcp(ends[0].places[0]!, ends[1].places[0]!, '100.64.2.2');
  const behind = (host: Host): Command => inHost(host, 'ip', 'netns', 'exec', 'plain');
  const likewise = (): Promise<Set> => tcp(behind(three), behind(four), '10.79.0.1');
  await compare(far, 'plain VXLAN, bridge and veth', { ours: between, theirs: likewise });
  await compare(far, 'plain VXLAN', { ours: between, theirs: () => tcp(first, second, '10.78.0.1') });
  await compare(far, 'host network', { ours: between, theirs: bare });
  for (const { end } of ends) await end();

  for (const [where, of] of [
    ['one node', here],
    ['two nodes', onHosts],
  ] as const)
    await compare({ where, program: 'mpi' }, 'host network', {
      ours: () => pingpongOf(of, 'isolated'),
      theirs: () => pingpongOf(of, 'host'),
    });

  const jobs = 24;
  const perSecond = async (kind: string): Promise<number> => {
    const begun = performance.now();
    let left = jobs;
    const worker = async (): Promise<void> => {
      while (left-- > 0) await run(here('run', '--network', kind, '-n', '1', '--nodes', 'node1', 'true'));
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    return (jobs / (performance.now() - begun)) * 1000;
  };
  const rate = await interleaved(rounds, {
    ours: () => perSecond('isolated'),
    theirs: () => perSecond('host'),
  });
  printPair('network', { figure: 'jobs a second', at: 4 }, 'host network', rate, '1/s');
  const wallMs = async (kind: string): Promise<number> =>
    (await run(here('run', '--network', kind, '-n', '1', '--nodes', 'node1', 'hostname'))).wallMs;
  const wall = await interleaved(4 * rounds, {
    ours: () => wallMs('isolated'),
    theirs: () => wallMs('host'),
  });
  printPair('network', { figure: 'a job of one rank' }, 'host network', wall, 'ms');
}

const { stdout } = await run({
  file: 'unshare',
  args: ['--net', process.execPath, script('attach-times'), String(4 * rounds)],
});
for (const [figure, times] of Object.entries(JSON.parse(stdout) as Record<string, number[]>))
  print({ bench: 'network', figure, value: rounded(median(times)), unit: 'ms' });
