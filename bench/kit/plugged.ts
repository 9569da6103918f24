/**
 * Sandboxes' ends of a job network without sandboxes: `plugged.ts NODE ADDRESS=ORDINAL,... ...` plugs in those of the node with
 * that address, prints where their network namespaces are, a line each, and takes them away when its standard input ends.
 */
import { once } from 'node:events';
import { native } from '../../native/addon/index.ts';
import { JobNetwork } from '../../node-agent/network/job-network.ts';

const [underlay = '', ...told] = process.argv.slice(2);
const members = told.map((text) => {
  const [node = '', ordinals = ''] = text.split('=');
  return { node, ordinals: ordinals.split(',').map(Number), key: '' };
});
const group = {
  groupUid: `bench ${told.join(' ')}`,
  title: 'default/bench',
  ...{ vni: 77_000 + members.length, port: 24_789, mtu: 1450, egress: true },
  subnet: `100.64.${String(members.length)}.0/28`,
  isEncrypted: false,
  subnet6: '',
  members,
};
await using node = new JobNetwork(native(), { clusterId: 'bench', node: underlay, underlay });
const own = members.find((member) => member.node === underlay)?.ordinals ?? [];
for (const ordinal of own) {
  const netns = node.newNamespace(false);
  await node.attach({ key: String(ordinal), ordinal, netns, isReachable: true }, group);
  console.log(`/proc/${String(process.pid)}/fd/${String(netns)}`);
}
process.stdin.resume();
await once(process.stdin, 'end');
for (const ordinal of own) await node.detach(String(ordinal), group.groupUid);
