// From a sandbox's spec to the processes to start in it: pure, everything about the node comes in. Environment strings
// that all ranks share are given once. It knows the layout of no message: native/addon/abi.ts encodes the entries.
import { RankSet } from '../crds/rank-set.ts';
import type { Program, SandboxSpec } from '../wire/agent-types.ts';
import { refused, startFailed } from './agent-error.ts';
import { credentialsOf } from './credentials.ts';
import {
  addVariables,
  baseEnvironment,
  checkStringLengths,
  jobNetworkVariables,
  rankFieldValue,
  rankVariables,
  sandboxVariables,
  type RankFacts,
} from './environment.ts';
import { addTopology } from './hwloc.ts';
import type { Account } from './mounts.ts';
import type { Binding } from './processors.ts';
import { cpuMaskOf } from './topology.ts';

/** Starts of this number and above are neither ranks' nor co-processes': somebody runs a program beside them. */
export const firstExecStart = 0x8000_0000;

export type StdioKind = 'null' | 'pipe' | 'pty' | 'file';

export interface ProcessStart {
  /** Global rank; null: a co-process. */
  readonly rank: number | null;
  readonly startId: number;
  readonly pmi: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
  readonly stdin: StdioKind;
  readonly stdout: StdioKind;
  readonly stderr: StdioKind;
  readonly stdoutFile: string;
  readonly stderrFile: string;
  readonly rlimits: readonly { resource: number; soft: number; hard: number }[];
  readonly cpuMask: Uint8Array;
  readonly rows: number;
  readonly columns: number;
  readonly workingDir: string;
  readonly searchPath: string;
  readonly argv: readonly string[];
  readonly env: readonly string[];
}

export interface StartPlan {
  readonly sharedEnv: readonly string[];
  readonly processes: readonly ProcessStart[];
}

export interface NodeContext {
  readonly node: string;
  readonly address: string;
  readonly account: Account;
  readonly groupsOfNode: readonly number[];
  /** hwloc's view of the node is in the sandbox. */
  readonly hasTopology: boolean;
  /** null where ranks are not bound, or not yet. */
  readonly binding: Binding | null;
}

/** RLIMIT_ numbers of Linux. */
const rlimitNumbers: Readonly<Record<string, number>> = {
  CPU: 0, FSIZE: 1, DATA: 2, STACK: 3, CORE: 4, RSS: 5, NPROC: 6, NOFILE: 7, MEMLOCK: 8, AS: 9,
  LOCKS: 10, SIGPENDING: 11, MSGQUEUE: 12, NICE: 13, RTPRIO: 14, RTTIME: 15,
}; // prettier-ignore

/** Throws AgentError when the spec can never be started here; the message names rank, node and what to change. */
export function startPlanOf(spec: SandboxSpec, context: NodeContext): StartPlan {
  const ranks = [...RankSet.parse(spec.ranks)];
  const localRanks = new Map(ranks.map((rank, index) => [rank, index]));
  const programs = spec.programs.map((program) => ({
    program,
    env: programEnvironment(spec, program, context),
  }));
  const own = sandboxVariables(spec, context.node, context.address, ranks.length);
  for (const { env } of programs) for (const [name, value] of own) env.set(name, value);
  const shared = sharedOf(
    programs.map(({ env }) => env),
    rankNames(
      spec,
      programs.map(({ program }) => program),
    ),
  );
  const processes: ProcessStart[] = [];
  for (const { program, env } of programs) {
    const programEnv = [...env].filter(([name]) => !shared.has(name));
    const members = program.coProcess ? [] : [...RankSet.parse(program.ranks)];
    const where = `${program.name === '' ? 'program' : `process ${program.name}`} on ${context.node}`;
    checkStringLengths(where, program.argv, env);
    if (program.argv.length === 0)
      throw startFailed(`${where}: the command is empty; give a program in command`);
    const fields = program.env.concat(spec.env).filter((each) => each.rankField !== '');
    for (const rank of members) {
      const localRank = localRanks.get(rank);
      if (localRank === undefined)
        throw startFailed(
          `rank ${String(rank)} on ${context.node}: it is not of this sandbox (${spec.ranks})`,
        );
      const facts: RankFacts = { rank, localRank, localSize: ranks.length, processName: program.name };
      const rankEnv = new Map(programEnv);
      for (const { name, rankField } of [...fields].reverse()) {
        rankEnv.set(name, rankFieldValue(rankField, spec, context.node, facts));
      }
      for (const [name, value] of rankVariables(spec, facts)) rankEnv.set(name, value);
      processes.push(processOf(spec, program, context, facts, env, rankEnv));
    }
    if (program.coProcess) {
      const facts = { rank: 0, localRank: 0, localSize: ranks.length, processName: program.name };
      processes.push({
        ...processOf(spec, program, context, facts, env, new Map(programEnv)),
        rank: null,
        pmi: false,
        stdin: 'null',
        stdout: 'null',
        stderr: 'null',
      });
    }
  }
  const planned = processes.filter((each) => each.rank !== null).length;
  if (planned !== ranks.length) {
    throw startFailed(
      `sandbox ${String(spec.id?.ordinal)} on ${context.node}: its programs name ${String(planned)} ranks, its rank set "${spec.ranks}" has ${String(ranks.length)}`,
    );
  }
  processes.sort((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity));
  return { sharedEnv: [...shared].map(([name, value]) => `${name}=${value}`), processes };
}

function processOf(
  spec: SandboxSpec,
  program: Program,
  context: NodeContext,
  facts: RankFacts,
  env: ReadonlyMap<string, string>,
  rankEnv: ReadonlyMap<string, string>,
): ProcessStart {
  const { rank, localRank } = facts;
  const cpus = context.binding?.[localRank] ?? [];
  const credentials = credentialsOf(spec, context.groupsOfNode);
  const takesInput = spec.stdin === 'All' || (spec.stdin === 'Rank0' && rank === 0);
  const output = (kind: string): StdioKind =>
    kind === 'Files' ? 'file' : kind === 'Discard' ? 'null' : 'pipe';
  const [stdout, stderr] = [output(spec.stdout), output(spec.stderr)];
  const workingDir =
    program.workingDir !== ''
      ? program.workingDir
      : spec.environment === 'Login'
        ? context.account.home
        : '/';
  return {
    rank,
    startId: 1,
    pmi: spec.pmi !== 'None',
    ...credentials,
    umask: spec.umask,
    stdin: spec.tty ? 'pty' : takesInput ? 'pipe' : 'null',
    stdout: spec.tty ? 'pty' : stdout,
    stderr: spec.tty ? 'pty' : stderr,
    stdoutFile:
      stdout === 'file' && !spec.tty ? fileNameOf(spec.stdoutPattern, spec, context.node, rank) : '',
    stderrFile:
      stderr === 'file' && !spec.tty ? fileNameOf(spec.stderrPattern, spec, context.node, rank) : '',
    rlimits: spec.rlimits.map(({ name, soft, hard }) => ({
      resource: rlimitNumber(name, context.node),
      soft,
      hard,
    })),
    cpuMask: cpus.length === 0 ? new Uint8Array() : cpuMaskOf(cpus),
    rows: spec.tty ? 24 : 0,
    columns: spec.tty ? 80 : 0,
    workingDir,
    searchPath: program.path !== '' ? program.path : (env.get('PATH') ?? ''),
    argv: program.argv,
    env: [...rankEnv].map(([name, value]) => `${name}=${value}`),
  };
}

/** %r rank, %n node, %j group name, %u group uid, %% a percent sign. */
export function fileNameOf(pattern: string, spec: SandboxSpec, node: string, rank: number): string {
  if (pattern === '')
    throw startFailed(
      `rank ${String(rank)} on ${node}: output goes to files, but no file name pattern is given`,
    );
  return pattern.replace(/%([rnju%])/g, (_, letter: string) => {
    if (letter === 'r') return String(rank);
    if (letter === 'n') return node;
    if (letter === 'j') return spec.groupName;
    return letter === 'u' ? (spec.id?.groupUid ?? '') : '%';
  });
}

function rlimitNumber(name: string, node: string): number {
  const number = rlimitNumbers[name.replace(/^RLIMIT_/, '').toUpperCase()];
  if (number === undefined)
    throw refused(
      `node ${node}: resource limit ${name} is not known; use one of ${Object.keys(rlimitNumbers).join(', ')}`,
    );
  return number;
}

function programEnvironment(spec: SandboxSpec, program: Program, context: NodeContext): Map<string, string> {
  const env = baseEnvironment(spec.environment, context.account, spec.tty);
  if (spec.network) for (const [name, value] of jobNetworkVariables) env.set(name, value);
  const where = `process ${program.name} on ${context.node}`;
  addVariables(env, spec.env, where);
  addVariables(env, program.env, where);
  if (context.hasTopology) addTopology(env);
  return env;
}

function rankNames(spec: SandboxSpec, programs: readonly Program[]): Set<string> {
  const fields = [spec.env, ...programs.map((program) => program.env)].flat();
  return new Set(fields.filter((each) => each.rankField !== '').map((each) => each.name));
}

function sharedOf(
  envs: readonly ReadonlyMap<string, string>[],
  except: ReadonlySet<string>,
): Map<string, string> {
  const [first = new Map<string, string>(), ...others] = envs;
  return new Map(
    [...first].filter(([name, value]) => !except.has(name) && others.every((env) => env.get(name) === value)),
  );
}
