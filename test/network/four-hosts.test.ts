/**
 * Job networks over four hosts: who reaches whom, under which names and with packets of which size, and that nothing is left of
 * them however they end.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, programs } from '../hosts/cluster.ts';
import type { Host } from '../hosts/hosts.ts';
import { eventually } from '../hosts/processes.ts';

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

/** Links, tables and namespaces of jobs on a host. */
async function leftOn(host: Host): Promise<string[]> {
  const text = await host.sh(
    `ip -o link | sed -n 's/^[0-9]*: \\(m[bvs][0-9a-z]*\\)[@:].*/link \\1/p'; nft list tables; lsns -t net -n -o ns,command | grep rank-init || true`,
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
    const script = 'hostname; grep names- /etc/hosts';
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

  it('leaves nothing', nothingIsLeft);
});
