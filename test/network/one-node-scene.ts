/**
 * Networks of three groups on one node, which is the network namespace that this program was started in (`unshare -n`): who
 * reaches whom, what is left, how long it takes. Prints what it saw as JSON; the test beside it says what is right.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { addressOf, parseSubnet } from '../../wire/job-addresses.ts';
import { JobNetwork, type GroupNetwork } from '../../node-agent/network/job-network.ts';
import { addAddress, setMaster, setUp } from '../../node-agent/network/link-changes.ts';
import { Links } from '../../node-agent/network/links.ts';
import { eventually } from '../hosts/processes.ts';
import { native } from '../../native/addon/index.ts';

const underlay = '192.0.2.1';
const node = new JobNetwork(native(), { clusterId: 'c', node: 'n1', underlay });
const twin = new JobNetwork(native(), { clusterId: 'c', node: 'n2', underlay });
const links = new Links(native(), -1);
const names = async () => (await links.list()).map(({ name }) => name).sort();

await links.apply([setUp('lo'), addAddress('lo', underlay, 32)]);
spawnSync('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);

const group = (groupUid: string, subnet: string, egress = true): GroupNetwork => ({
  groupUid,
  title: `default/${groupUid}`,
  vni: subnet.length,
  port: 14789,
  subnet,
  subnet6: '',
  mtu: 1450,
  egress,
  isEncrypted: false,
  members: [{ node: underlay, ordinals: [0, 1], key: '' }],
});

/** 'hello' or the reason why not. `netns` -1: this program's. */
async function connect(from: number, to: number, address: string): Promise<string> {
  const inside = (netns: number, script: string) => {
    const path = netns === -1 ? '/proc/self/ns/net' : `/proc/${String(process.pid)}/fd/${String(netns)}`;
    return spawn('nsenter', [`--net=${path}`, process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  };
  const server = inside(
    to,
    `require('net').createServer((c) => c.end('hello')).listen(7000, () => console.log('up'))`,
  );
  await once(server.stdout, 'data');
  const client = inside(
    from,
    `const c = require('net').connect({ host: '${address}', port: 7000, timeout: 700 });
     c.on('data', (d) => console.log(String(d))).on('error', (e) => console.log(e.code))
      .on('timeout', () => { console.log('silence'); c.destroy(); })`,
  );
  const [said] = (await once(client.stdout, 'data')) as [Buffer];
  server.kill();
  await once(server, 'close');
  return said.toString().trim();
}

const [a, b, c] = [
  group('a', '100.64.0.0/28'),
  group('b', '100.64.0.16/28'),
  group('c', '100.64.0.128/28', false),
];
const attached = async (
  agent: JobNetwork,
  key: string,
  ordinal: number,
  of: GroupNetwork,
): Promise<{ netns: number; address: string }> => {
  const netns = agent.newNamespace(of.subnet6 !== '');
  await agent.attach({ key, ordinal, netns, isReachable: true }, of);
  return { netns, address: addressOf(parseSubnet(of.subnet), ordinal) };
};
const at = (of: GroupNetwork, ordinal: number) => addressOf(parseSubnet(of.subnet), ordinal);
const a0 = await attached(node, 'a-0-1', 0, a);
const a1 = await attached(twin, 'a-1-1', 1, a);
const b0 = await attached(node, 'b-0-1', 0, b);
const c0 = await attached(node, 'c-0-1', 0, c);
const c1 = await attached(node, 'c-1-1', 1, c);
const there = await names();
const began = performance.now();
const rounds = 20;
for (let round = 0; round < rounds; round++) {
  const { netns } = await attached(node, 'b-1-1', 1, b);
  native().close(netns);
  await node.detach('b-1-1', 'b');
}
const attachMs = (performance.now() - began) / rounds;

const within = await connect(a0.netns, a1.netns, a1.address);
const withinClosed = await connect(c0.netns, c1.netns, c1.address);
const neighbour = await connect(b0.netns, a1.netns, a1.address);
const fromNode = await connect(-1, a1.netns, a1.address);
const leaving = await connect(a0.netns, -1, underlay);
const leavingClosed = await connect(c0.netns, -1, underlay);
await node.setPlugged('a-0-1', 0, a, false);
const unplugged = await connect(a0.netns, a1.netns, a1.address);
await node.setPlugged('a-0-1', 0, a, true);
const pluggedAgain = await connect(a0.netns, a1.netns, a1.address);

// Short cuts: packets need no bridge any more, and one that is cut off has none.
const tablesOf = (kind = ''): string =>
  spawnSync('nft', ['list', 'tables', kind].filter(Boolean), { encoding: 'utf8' }).stdout;
await eventually(() => tablesOf('netdev') !== '', 'short cuts');
const port = (await links.list()).find(({ alias }) => alias.includes(`${c0.address} of`))!.name;
await links.apply([setMaster(port, null)]);
const byShortCut = await connect(c0.netns, c1.netns, c1.address);
await node.setPlugged('c-0-1', 0, c, false);
const cutOff = await connect(c0.netns, c1.netns, c1.address);
await node.setPlugged('c-0-1', 0, c, true);
const joinedAgain = await connect(c0.netns, c1.netns, c1.address);

await twin.detach('a-1-1', 'a');
const shared = (await names()).filter((name) => !there.includes(name));
const half = (await names()).length;
await node.sweep(['b-0-1']);
const swept = await names();
await node.detach('b-0-1', 'b');
const left = await names();

// A sandbox ends, and its agent before it has heard of that.
const d0 = await attached(node, 'd-0-1', 0, group('d', '100.64.0.32/28'));
const hadTables = tablesOf();
native().close(d0.netns);
await eventually(async () => (await names()).length === 2, 'the end of its link');
await node.sweep(['d-0-1']);
const afterEnd = { names: await names(), hadTables: hadTables !== '', tables: tablesOf() };
console.log(
  JSON.stringify({
    addresses: [a0.address, a1.address, at(b, 0)],
    ...{ within, withinClosed, neighbour, fromNode, leaving, leavingClosed, unplugged, pluggedAgain },
    ...{ byShortCut, cutOff, joinedAgain },
    ...{ there: there.length, shared, half, swept: swept.length, left, attachMs, afterEnd },
  }),
);
