// What of job networks this node cannot have, and why, with the cure; looked at when the agent starts, and by `muster doctor`.
import { isIP } from 'node:net';
import { spawnSync } from 'node:child_process';
import type { Native } from '../../native/addon/index.ts';
import { messageOf } from '../agent-error.ts';
import { obstacleOnTheWay, obstacleToTunnels } from './other-rules.ts';
import { sealingTrouble } from './sealed-link.ts';

/** Null: nothing stands in the way. */
export interface NetworkTroubles {
  /** Of any network of a job's own. */
  readonly isolated: string | null;
  /** Of one over several nodes, as far as can be seen: jobs are placed all the same. */
  readonly tunnels: string | null;
  /** Of tunnels that are encrypted. */
  readonly encryption: string | null;
}

/** `port` of the cluster's tunnels; null: not known. */
export async function networkTroubles(
  native: Native,
  agentUid: number,
  address: string,
  port: number | null,
): Promise<NetworkTroubles> {
  const isolated = troubleOfAny(native, agentUid, address);
  if (isolated !== null) return { isolated, tunnels: null, encryption: isolated };
  return { isolated, tunnels: obstacleToTunnels(port), encryption: await sealingTrouble(native) };
}

function troubleOfAny(native: Native, agentUid: number, address: string): string | null {
  if (agentUid !== 0) return 'the agent is not root; run it as root';
  if (isIP(address) === 0)
    return `other nodes know this one as ${address}, which is a name: give the agent --address with an IP address`;
  if (spawnSync('nft', ['--version'], { stdio: 'ignore' }).status !== 0)
    return 'nft does not start: install nftables';
  const obstacle = obstacleOnTheWay();
  if (obstacle !== null) return obstacle;
  try {
    native.close(native.netnsNew(''));
    return null;
  } catch (error) {
    return `no network namespace can be made (${messageOf(error)}): give the agent CAP_SYS_ADMIN and CAP_NET_ADMIN`;
  }
}
