/**
 * What an agent is told of a sandbox: the group's spec, its placement and its private environment in, one order per
 * ordinal out. Pure, and the same after a restart. Who waits for whom in the job tree is by ordinal; addresses are
 * filled in when an order is sent, since agents move.
 */
import { constants } from 'node:os';
import { annotations } from '../crds/names.ts';
import { quantityOf } from '../crds/quantity.ts';
import { RankSet } from '../crds/rank-set.ts';
import type { ProcessGroup, ProcessGroupRlimit, ProcessGroupSpec } from '../crds/types.gen.ts';
import type { Carrier, EnvVar, JobNetwork, Program, Rlimit, Sent, Tree } from '../wire/agent-types.ts';
import { leaseTimesOf, type LeaseTimes } from '../wire/fencing.ts';
import { processMapping } from '../wire/pmi1/process-mapping.ts';
import { restoreOrderOf } from './process-group/restore.ts';
import type { DesiredSandbox } from './hub/desired-book.ts';
import { sandboxNameOf } from './hub/group-hosts.ts';
import type { Assignment } from './placement/placement-status.ts';

/** What belongs to a group and is kept out of its object. */
export interface GroupSecret {
  readonly env: readonly { readonly name: string; readonly value: string }[];
  /** Lets the front that started the group open its output. */
  readonly frontToken?: string;
}

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly groupsFromNode: boolean;
}

export const nobody = 65534;
const treeArity = 8;
const unknownUid = 0xffff_ffff;
/** Longest value that fits a PMI-1 reply whatever the name of the key-value space. */
const mappingMaxBytes = 800;
const noLimit = 2 ** 64;

const rlimitNames: Readonly<Record<ProcessGroupRlimit['name'], string>> = {
  AddressSpace: 'AS', Core: 'CORE', Cpu: 'CPU', Data: 'DATA', FileSize: 'FSIZE', Locks: 'LOCKS', MemoryLock: 'MEMLOCK',
  MessageQueue: 'MSGQUEUE', Nice: 'NICE', OpenFiles: 'NOFILE', Processes: 'NPROC', ResidentSet: 'RSS',
  RealTimePriority: 'RTPRIO', RealTime: 'RTTIME', PendingSignals: 'SIGPENDING', Stack: 'STACK',
}; // prettier-ignore

/** As whom the ranks run: as the spec says, else as the user who made the group is mapped, else as nobody. */
export function identityOf(group: ProcessGroup): Identity {
  const { runAsUser, runAsGroup, supplementalGroups } = group.spec.securityContext ?? {};
  const mapped = submittedBy(group);
  const uid = runAsUser ?? mapped?.uid ?? nobody;
  const gid = runAsGroup ?? (mapped?.uid === uid ? mapped.gid : uid);
  const fromNode = supplementalGroups === undefined && uid !== nobody;
  return { uid, gid, groups: supplementalGroups ?? [], groupsFromNode: fromNode };
}

export function specsOf(
  group: ProcessGroup,
  assignments: readonly Assignment[],
  secret: GroupSecret | undefined,
  clusterId: string,
  networkPort = 0,
  carrierOf: (assignment: Assignment) => Carrier | undefined = () => undefined,
): DesiredSandbox[] {
  const { spec, metadata } = group;
  const uid = metadata.uid ?? '';
  const size = spec.size ?? 0;
  const rankSets = assignments.map(({ ranks }) => RankSet.parse(ranks));
  const programSets = (spec.processes ?? []).map((process) => RankSet.parse(process.ranks));
  const mapping =
    processMapping(
      rankSets.map((ranks) => [...ranks]),
      mappingMaxBytes,
    ) ?? '';
  const identity = identityOf(group);
  const stdio = spec.stdio ?? {};
  const pattern = (text: string | undefined): string => filePattern(text, size);
  const isolated = group.status?.network !== undefined;
  const common = {
    namespace: metadata.namespace ?? 'default',
    groupName: metadata.name,
    size,
    sandboxes: assignments.length,
    processMapping: mapping,
    kvsName: `kvs_${uid.slice(0, 8)}`,
    pmi: spec.pmi === 'None' ? 'None' : 'PMI1',
    ...identity,
    // Who is in which group is the image's to say, not the node's.
    groupsFromNode: identity.groupsFromNode && spec.template === undefined,
    umask: parseInt(spec.securityContext?.umask ?? '022', 8),
    rlimits: (spec.rlimits ?? []).map(rlimitOf),
    environment: spec.environment ?? 'Clean',
    env: (secret?.env ?? []).map(({ name, value }) => ({ name, value })),
    stdin: stdio.stdin ?? 'Rank0',
    stdout: stdio.stdout ?? 'Collect',
    stderr: stdio.stderr ?? 'Collect',
    stdoutPattern: pattern(stdio.stdoutFile),
    stderrPattern: pattern(stdio.stderrFile),
    whenFull: stdio.whenFull ?? 'Rotate',
    tty: spec.tty ?? false,
    binding: spec.placement?.binding ?? 'None',
    devices: spec.resources?.devices ?? [],
    // No agent takes this for a root of its own: without its Pod such a sandbox is refused.
    root: spec.template === undefined ? (spec.root ?? 'Host') : 'Carrier',
    savesItself: spec.checkpointPolicy?.engine === 'Application',
    abortOnFailure: (spec.failurePolicy?.rank ?? 'Abort') === 'Abort',
    warningSignal: warningSignalOf(spec),
    owner: metadata.annotations?.[annotations.submittedBy.name] ?? '',
    ownerUid: submittedBy(group)?.uid ?? unknownUid,
    frontToken: secret?.frontToken ?? '',
    clusterId,
    ...networkOf(group, networkPort),
    ...leaseOf(group),
  };
  return assignments.map((assignment, i) => ({
    node: assignment.node,
    spec: {
      ...common,
      ...carried(carrierOf(assignment)),
      ...limitsOf(spec, assignment.rankCount),
      id: { groupUid: uid, ordinal: assignment.ordinal, incarnation: assignment.incarnation },
      ranks: assignment.ranks,
      restore: restoreOrderOf(group, assignment.ordinal),
      hostname:
        isolated || spec.template !== undefined
          ? sandboxNameOf(metadata.name, assignment.ordinal)
          : assignment.node,
      programs: programsOf(spec, programSets, rankSets[i]!),
      tree: treeOf(assignment.ordinal, assignments),
    },
  }));
}

/** Of a group that has ended, whose output is kept. */
export function keptSpecsOf(
  { metadata, spec }: ProcessGroup,
  assignments: readonly Assignment[],
): DesiredSandbox[] {
  const stdin = spec.stdio?.stdin ?? 'Rank0';
  return assignments.map(({ node, ordinal, incarnation, ranks }) => ({
    node,
    spec: {
      id: { groupUid: metadata.uid ?? '', ordinal, incarnation },
      ranks,
      stdin,
      tree: treeOf(ordinal, assignments),
    },
  }));
}

function leaseOf({ status }: ProcessGroup): { lease?: LeaseTimes } {
  const seconds = status?.nodeLeaseSeconds;
  return seconds === undefined ? {} : { lease: leaseTimesOf(seconds) };
}

/** Of network Isolated; where its members are is filled in when an order is sent. */
function networkOf({ spec, status }: ProcessGroup, port: number): { network?: Sent<JobNetwork> } {
  if (!status?.network) return {};
  const { subnet, vni, encryption = '', subnet6 = '' } = status.network;
  return { network: { subnet, vni, port, egress: spec.egress !== 'Deny', encryption, subnet6 } };
}

const carried = (carrier: Carrier | undefined): { carrier?: Carrier } => (carrier ? { carrier } : {});

/** Parent and children of a sandbox in the job's tree; the root is its own parent. */
export function treeOf(ordinal: number, assignments: readonly Assignment[]): Sent<Tree> {
  const nodeOf = (other: number): string => assignments[other]?.node ?? '';
  const parent = ordinal === 0 ? 0 : Math.floor((ordinal - 1) / treeArity);
  const children: { ordinal: number; node: string }[] = [];
  for (let child = ordinal * treeArity + 1; child <= (ordinal + 1) * treeArity; child++) {
    if (child < assignments.length) children.push({ ordinal: child, node: nodeOf(child) });
  }
  return { parent, parentNode: ordinal === 0 ? '' : nodeOf(parent), parentAddress: '', children };
}

export function warningSignalOf(spec: ProcessGroupSpec): number {
  const { warningSignal, warningSeconds } = spec.limits ?? {};
  if (warningSeconds === undefined) return 0;
  return constants.signals[warningSignal ?? 'SIGUSR1'];
}

function submittedBy(group: ProcessGroup): { uid: number; gid: number } | undefined {
  const match = /^(\d+):(\d+)$/.exec(group.metadata.annotations?.[annotations.submittedUid.name] ?? '');
  return match ? { uid: Number(match[1]), gid: Number(match[2]) } : undefined;
}

function programsOf(spec: ProcessGroupSpec, sets: readonly RankSet[], own: RankSet): Sent<Program>[] {
  return (spec.processes ?? []).flatMap((process, appNumber) => {
    const ranks = sets.length === 1 ? own : sets[appNumber]!.intersect(own);
    if (ranks.size === 0) return [];
    const env: Sent<EnvVar>[] = (process.env ?? []).map(({ name, value, rankField }) => ({
      name,
      value: value ?? '',
      rankField: rankField ?? '',
    }));
    return {
      name: process.name,
      ranks: ranks.toString(),
      argv: [...process.command, ...(process.args ?? [])],
      env,
      workingDir: process.workingDir ?? '',
      path: process.path ?? '',
      appNumber,
      coProcess: false,
    };
  });
}

/** Limits of a rank are counted for all ranks of the sandbox; limits of the group for the sandbox's share of them. */
function limitsOf(
  spec: ProcessGroupSpec,
  ranks: number,
): {
  memoryLimitBytes: number;
  cpuLimitMilli: number;
  cpuTimeLimitSeconds: number;
  logQuotaBytes: number;
} {
  const { limits = {}, resources, stdio, size = 1 } = spec;
  const perRank = quantityOf(resources?.limits?.['memory'] ?? NaN) * ranks;
  const memory = Math.min(...[quantityOf(limits.memory ?? NaN), perRank].filter((bytes) => bytes > 0));
  const cpus = quantityOf(resources?.limits?.['cpu'] ?? NaN) * ranks;
  const quota = quantityOf(stdio?.logQuota ?? NaN);
  return {
    memoryLimitBytes: Number.isFinite(memory) ? Math.floor(memory) : 0,
    cpuLimitMilli: cpus > 0 ? Math.ceil(cpus * 1000) : 0,
    cpuTimeLimitSeconds:
      limits.cpuTimeSeconds === undefined ? 0 : Math.ceil((limits.cpuTimeSeconds * ranks) / size),
    logQuotaBytes: quota > 0 ? Math.max(4096, Math.floor(quota / ranks / 2)) : 0,
  };
}

function rlimitOf({ name, soft, hard }: ProcessGroupRlimit): Sent<Rlimit> {
  const number = (limit: number | string | undefined): number =>
    limit === 'Unlimited' ? noLimit : Number(limit);
  return { name: rlimitNames[name], soft: number(soft ?? hard), hard: number(hard ?? soft) };
}

/** The API's letters to those of the agents: %h node, %g group, %s size. */
function filePattern(text: string | undefined, size: number): string {
  return (text ?? '').replace(/%([rshg%])/g, (whole, letter: string) => {
    if (letter === 's') return String(size);
    if (letter === 'h') return '%n';
    return letter === 'g' ? '%j' : whole;
  });
}
