/**
 * How long it takes to run on 1 to 64 hosts, one rank each: `hostname`, then `cpi`, the two tables of the MPD papers. Hosts
 * are namespaces on this machine (network, mounts, processes) with an agent each and a bridge between them. The peer is
 * mpiexec.hydra with a launcher that enters the namespaces: hydra without what ssh costs, the best that it can be (`hostname` only).
 * It uses the hosts' own network, as a job does with `--network host`; a network for each job is made by one kernel here for all hosts.
 * `MUSTER_BENCH_HOSTS` (a list) and `MUSTER_BENCH_ROUNDS` change what is measured.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Cluster, muster } from '../test/hosts/cluster.ts';
import { programs } from './kit/cluster.ts';
import { timed, type Command } from './kit/command.ts';
import { hydra } from './kit/hydra.ts';
import { interleaved, median, print, printPair, rounded } from './kit/report.ts';

const counts = (process.env['MUSTER_BENCH_HOSTS'] ?? '1,4,8,16,64').split(',').map(Number);
const roundsOf = (hosts: number): number =>
  Number(process.env['MUSTER_BENCH_ROUNDS'] ?? (hosts >= 64 ? 3 : 5));
const words = { hostname: ['hostname'], cpi: [path.join(programs, 'cpi')] };

await using cluster = await Cluster.make(Array.from({ length: Math.max(...counts) + 1 }, () => ({})));
const hosts = cluster.hosts.all;
/** Beyond those that run ranks, or hydra would start its local ranks without the launcher. */
const hydrasHost = hosts.at(-1)!;

/** What hydra starts instead of ssh: the address of a host, then what is to be run there. */
const launcher = path.join(cluster.hosts.base, 'enter-host');
writeFileSync(
  launcher,
  `#!/bin/sh
while [ "\${1#-}" != "$1" ]; do shift; done
address=$1; shift
case $address in
${hosts.map(({ address, enter }) => `${address}) exec ${enter.join(' ')} /bin/sh -c "$*" ;;`).join('\n')}
esac
exit 1
`,
);
chmodSync(launcher, 0o755);

type Network = 'isolated' | 'host';

function ours(count: number, program: readonly string[], network: Network = 'isolated'): Command {
  const names = hosts.slice(0, count).map(({ name }) => name);
  const [file, ...args] = [
    ...cluster.front.enter,
    ...[muster, 'run', '-n', String(count), '--ppn', '1', '--nodes', names.join(',')],
    ...['--network', network, ...program],
  ];
  return { file: file!, args, env: cluster.front.environment() };
}

/** Only in a host's network: it has to see the processes whose namespaces its launcher enters. */
function theirs(count: number, program: readonly string[]): Command {
  const addresses = hosts.slice(0, count).map(({ address }) => address);
  const own = ['-localhost', hydrasHost.address, '-hosts', addresses.join(','), '-ppn', '1'];
  const { file, args } = hydra(count, '-launcher', 'ssh', '-launcher-exec', launcher, ...own, ...program);
  return { file: 'nsenter', args: [`--target=${hydrasHost.pid}`, '--net', '--', file, ...args] };
}

for (const network of ['host', 'isolated'] as const)
  for (const count of counts) {
    const pair = await interleaved(roundsOf(count), {
      ours: async () => timed(ours(count, words.hostname, network), count),
      theirs: async () => timed(theirs(count, words.hostname), count),
    });
    const parameters = { program: 'hostname', network, hosts: count, ranks: count };
    printPair('hosts', parameters, 'hydra without ssh', pair, 'ms');
  }
// hydra's ranks do not find one another here without a name service; cpi stands alone.
for (const count of counts) {
  const times: number[] = [];
  for (let round = 0; round < roundsOf(count); round += 1)
    times.push(await timed(ours(count, words.cpi), count + 1));
  const parameters = { program: 'cpi', network: 'isolated', hosts: count, ranks: count };
  print({ bench: 'hosts', ...parameters, value: rounded(median(times)), unit: 'ms' });
}
