// The environment of ranks, pure. Layers, the later ones win: the base (Clean or Login), the group's, the program's,
// and at last what the agent alone may say: PMI and MUSTER_ variables. Variables by which other launchers are recognised
// are scrubbed, since an MPI library that sees two launchers at once refuses to start.
import type { EnvVar, SandboxSpec } from '../wire/agent-types.ts';
import { checkpointDirectory, restartDirectory } from './checkpoint/own-saves.ts';
import type { Account } from './mounts.ts';
import { startFailed } from './agent-error.ts';

/** The kernel's MAX_ARG_STRLEN, with the NUL. */
export const maxStringBytes = 131_072;

export interface RankFacts {
  readonly rank: number;
  readonly localRank: number;
  readonly localSize: number;
  readonly processName: string;
}

const scrubbed =
  /^(PMI_|PMI2_|PMIX_|OMPI_|ORTE_|PRTE_|HYDI_|HYDRA_|SLURM_PMI|MPI_LOCAL|MUSTER_|_$|LD_PRELOAD_32$)/;
const cleanPath = '/usr/local/bin:/usr/bin:/bin';
const namePattern = /^[^=\0]+$/;

export function baseEnvironment(kind: string, account: Account, tty: boolean): Map<string, string> {
  const env = new Map<string, string>([
    [
      'PATH',
      kind === 'Login' && account.uid === 0 ? `/usr/local/sbin:/usr/sbin:/sbin:${cleanPath}` : cleanPath,
    ],
    ['HOME', account.home],
    ['USER', account.name],
    ['LOGNAME', account.name],
    ['SHELL', account.shell],
    ['LANG', 'C.UTF-8'],
  ]);
  if (tty) env.set('TERM', 'xterm-256color');
  return env;
}

/** Adds variables of the spec; those filled in from a rank's facts are left for `rankVariables`. */
export function addVariables(env: Map<string, string>, variables: readonly EnvVar[], where: string): void {
  for (const { name, value, rankField } of variables) {
    if (!namePattern.test(name) || value.includes('\0')) {
      throw startFailed(
        `${where}: environment variable ${JSON.stringify(name.slice(0, 64))} has no valid name or value; a name has no "=", neither has a NUL byte`,
      );
    }
    if (scrubbed.test(name)) continue;
    if (rankField === '') env.set(name, value);
  }
}

/**
 * A job network has one link, by one name: libraries that look for links themselves need not guess, and UCX does not give up
 * connections that were cut off for long. The group's own variables win.
 */
export const jobNetworkVariables: readonly (readonly [string, string])[] = [
  ['UCX_NET_DEVICES', 'eth0'],
  ['UCX_TCP_KEEPIDLE', 'inf'],
  ['FI_TCP_IFACE', 'eth0'],
  ['FI_SOCKETS_IFACE', 'eth0'],
  ['OMPI_MCA_btl_tcp_if_include', 'eth0'],
  ['OMPI_MCA_oob_tcp_if_include', 'eth0'],
];

export function rankFieldValue(field: string, spec: SandboxSpec, node: string, facts: RankFacts): string {
  switch (field) {
    case 'Rank':
      return String(facts.rank);
    case 'Size':
      return String(spec.size);
    case 'LocalRank':
      return String(facts.localRank);
    case 'LocalSize':
      return String(facts.localSize);
    case 'Node':
      return node;
    case 'Ordinal':
      return String(spec.id?.ordinal ?? 0);
    case 'GroupName':
      return spec.groupName;
    case 'GroupNamespace':
      return spec.namespace;
    case 'GroupUid':
      return spec.id?.groupUid ?? '';
    case 'ProcessName':
      return facts.processName;
    default:
      throw startFailed(
        `environment: rank field ${JSON.stringify(field)} is not known to this agent; update it`,
      );
  }
}

/** What all ranks of a sandbox share of the agent's own variables. */
export function sandboxVariables(
  spec: SandboxSpec,
  node: string,
  address: string,
  localSize: number,
): Map<string, string> {
  const env = new Map<string, string>([
    ['MPI_LOCALNRANKS', String(localSize)],
    ['MUSTER_SIZE', String(spec.size)],
    ['MUSTER_LOCAL_SIZE', String(localSize)],
    ['MUSTER_NODE', node],
    ['MUSTER_ORDINAL', String(spec.id?.ordinal ?? 0)],
    ['MUSTER_INCARNATION', String(spec.id?.incarnation ?? 1)],
    ['MUSTER_GROUP', spec.groupName],
    ['MUSTER_NAMESPACE', spec.namespace],
    ['MUSTER_UID', spec.id?.groupUid ?? ''],
  ]);
  if (spec.savesItself) env.set('MUSTER_CHECKPOINT_DIR', checkpointDirectory);
  if (spec.savesItself && spec.restore) env.set('MUSTER_RESTART_DIR', restartDirectory);
  if (spec.pmi !== 'None') {
    env.set('PMI_FD', '3');
    env.set('PMI_SIZE', String(spec.size));
    // The address that MPICH publishes for TCP: the first name is read by its nemesis device, the second by its sock device.
    env.set('MPIR_CVAR_CH3_INTERFACE_HOSTNAME', address);
    env.set('MPICH_INTERFACE_HOSTNAME', address);
  }
  return env;
}

export function rankVariables(spec: SandboxSpec, facts: RankFacts): [string, string][] {
  const env: [string, string][] = [
    ['MPI_LOCALRANKID', String(facts.localRank)],
    ['MUSTER_RANK', String(facts.rank)],
    ['MUSTER_LOCAL_RANK', String(facts.localRank)],
  ];
  if (spec.pmi !== 'None') env.push(['PMI_RANK', String(facts.rank)]);
  return env;
}

/** Strings too long for execve are told here, by name, where the kernel would only say E2BIG. */
export function checkStringLengths(
  where: string,
  argv: readonly string[],
  env: Iterable<readonly [string, string]>,
): void {
  const advice = `the kernel takes at most ${String(maxStringBytes - 1)} a string: pass it in a file`;
  argv.forEach((arg, index) => {
    const bytes = Buffer.byteLength(arg);
    if (bytes >= maxStringBytes) {
      throw startFailed(
        `${where}: argument ${String(index)} is ${String(bytes)} bytes long (E2BIG); ${advice}`,
      );
    }
    if (arg.includes('\0'))
      throw startFailed(`${where}: argument ${String(index)} holds a NUL byte, which no argument can`);
  });
  for (const [name, value] of env) {
    const bytes =
      name.length + value.length >= maxStringBytes / 4
        ? Buffer.byteLength(name) + Buffer.byteLength(value) + 1
        : 0;
    if (bytes >= maxStringBytes) {
      throw startFailed(
        `${where}: environment variable ${name} is ${String(bytes)} bytes long (E2BIG); ${advice}`,
      );
    }
  }
}
