/**
 * Ends what the agents of this home left running, for when the agents themselves have stopped for good: every pid 1 they had on
 * record, and with it all that lives in its sandbox; then the cgroups. Pids are checked against start time and namespace.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { cgroupParentFileOf, Cgroups, parseHierarchies } from '../../node-agent/cgroups.ts';
import { defaultNodeConfig } from '../../node-agent/config.ts';
import { clusterOfAuthority } from '../../wire/authority-name.ts';
import { JobNetwork } from '../../node-agent/network/job-network.ts';
import { bootId, isSameProcess } from '../../node-agent/process-table.ts';
import { SandboxDirectory } from '../../node-agent/sandbox-directory.ts';
import { type Home, nodeStateOf } from '../home.ts';
import { nodeKeyPaths } from './cluster-keys.ts';

const killedWithinMs = 10_000;

/** How many sandboxes still ran. */
export async function sweepNodes(home: Home): Promise<number> {
  const hierarchies = parseHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
  let ended = 0;
  for (const node of entriesOf(home.nodes)) {
    const state = nodeStateOf(home, node);
    const cgroups = new Cgroups(hierarchies, cgroupParentOf(state), state, node);
    const found = entriesOf(join(state, 'sandboxes')).filter(
      (key) => !existsSync(join(state, 'sandboxes', key, 'rest')), // of which nothing runs
    );
    for (const key of new Set([...found, ...cgroups.list()])) {
      const identity = new SandboxDirectory(join(state, 'sandboxes', key)).read('identity');
      const alive = (): boolean =>
        identity !== null && identity.bootId === bootId() && isSameProcess(identity);
      const cgroup = cgroups.of(key);
      const running = alive() || (cgroup.exists() && cgroup.populated());
      if (running) ended++;
      if (alive()) process.kill(identity!.pid, 'SIGKILL');
      if (cgroup.exists()) cgroup.kill();
      const deadline = Date.now() + killedWithinMs;
      while ((alive() || (cgroup.exists() && cgroup.populated())) && Date.now() < deadline) await pause(5);
      cgroup.remove();
    }
    cgroups.close();
    await sweepNetworks(home, node);
  }
  return ended;
}

/** Links, tunnels and rules of job networks, where this node can have had any. */
async function sweepNetworks(home: Home, node: string): Promise<void> {
  const { ca } = nodeKeyPaths(home, node);
  if (process.getuid?.() !== 0 || !existsSync(ca)) return;
  const { native } = await import('../../native/addon/index.ts');
  const clusterId = clusterOfAuthority(readFileSync(ca));
  await using network = new JobNetwork(native(), { clusterId, node, underlay: '' });
  await network.sweep([]);
}

function cgroupParentOf(state: string): string {
  const file = cgroupParentFileOf(state);
  return existsSync(file) ? readFileSync(file, 'utf8') : defaultNodeConfig.cgroupParent;
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
