// The machine as hwloc sees it, in hwloc's own XML, found out once by the agent and shown to every rank: looking for itself
// costs each of them tens of milliseconds on a small node, seconds on a big one. What is in it is hwloc's affair. Without
// hwloc's tool on the node, or until it has answered, ranks look for themselves as they would anywhere.
import { execFile } from 'node:child_process';
import type { Logger } from 'pino';

/** Where it is in a sandbox. */
export const topologyPath = '/run/muster/hwloc.xml';

/** A user who says one of these about his topology says all of it. */
const userSays = ['HWLOC_XMLFILE', 'HWLOC_SYNTHETIC', 'HWLOC_FSROOT', 'HWLOC_COMPONENTS'];

const tool = 'lstopo-no-graphics';
/** Everything, since who loads it takes out only what he wants. */
const toolArguments = ['--filter', 'all:all', '--of', 'xml'];
const toolEnvironment = { PATH: '/usr/bin:/usr/local/bin:/bin', LANG: 'C' };
const limits = { timeout: 60_000, maxBuffer: 16 << 20 };

export interface MachineTopology {
  /** null: there is none, or not yet. */
  readonly xml: string | null;
}

/** Begins to find out. */
export function findTopology(log: Logger, signal: AbortSignal): MachineTopology {
  const found: { xml: string | null } = { xml: null };
  execFile(tool, toolArguments, { ...limits, env: toolEnvironment, signal }, (error, stdout) => {
    if (error) {
      if (!signal.aborted && error.code !== 'ENOENT')
        log.info({ err: error }, 'no topology from hwloc; ranks look for themselves');
      return;
    }
    if (isReadable(stdout)) found.xml = stdout;
  });
  return found;
}

/** The format of hwloc 2: what an older one wrote lacks too much, what a later one will write may not be understood. */
export function isReadable(xml: string): boolean {
  return /<topology version="2\./.test(xml);
}

/** Lets hwloc read the file in place of the machine, and bind processes nevertheless. */
export function addTopology(env: Map<string, string>): void {
  if (userSays.some((name) => env.has(name))) return;
  env.set('HWLOC_XMLFILE', topologyPath);
  env.set('HWLOC_THISSYSTEM', '1');
}
