/**
 * How long a sandbox's part in a job network takes to make and to take away, on the node that is the network namespace this
 * program was started in (`unshare -n`): on one node, and with a tunnel to another, one job after another with a while between. Prints
 * JSON: lists of milliseconds.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { native } from '../../native/addon/index.ts';
import { JobNetwork, type GroupNetwork } from '../../node-agent/network/job-network.ts';
import { addAddress, setUp } from '../../node-agent/network/link-changes.ts';
import { Links } from '../../node-agent/network/links.ts';

const underlay = '192.0.2.1';
const rounds = Number(process.argv[2] ?? 20);
{
  await using links = new Links(native(), -1);
  await links.apply([setUp('lo'), addAddress('lo', underlay, 32)]);
}
await using node = new JobNetwork(native(), { clusterId: 'bench', node: 'node1', underlay });

function groupOf(round: number, elsewhere: boolean): GroupNetwork {
  const other = elsewhere ? [{ node: '192.0.2.2', ordinals: [1], key: '' }] : [];
  return {
    groupUid: `${String(round)}-${String(elsewhere)}`,
    title: 'default/bench',
    vni: 2 * round + Number(elsewhere),
    port: 24_789,
    subnet: `100.64.${String(round)}.${elsewhere ? '16' : '0'}/28`,
    mtu: 1450,
    egress: true,
    isEncrypted: false,
    subnet6: '',
    members: [{ node: underlay, ordinals: [0], key: '' }, ...other],
  };
}

const times = {
  attach: [] as number[],
  detach: [] as number[],
  attachTunnel: [] as number[],
  detachTunnel: [] as number[],
};
for (let round = 0; round < rounds; round++) {
  for (const elsewhere of [false, true]) {
    const group = groupOf(round, elsewhere);
    const key = `${group.groupUid}-0-1`;
    await pause(150);
    const begun = performance.now();
    const netns = node.newNamespace(false);
    await node.attach({ key, ordinal: 0, netns, isReachable: true }, group);
    const attached = performance.now();
    native().close(netns);
    await node.detach(key, group.groupUid);
    times[elsewhere ? 'attachTunnel' : 'attach'].push(attached - begun);
    times[elsewhere ? 'detachTunnel' : 'detach'].push(performance.now() - attached);
  }
}
console.log(JSON.stringify(times));
