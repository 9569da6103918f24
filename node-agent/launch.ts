// Runs native/launch, which builds a sandbox and leaves rank-init in it: arguments from the tables, the identity from its
// one line of JSON. Launch leaves nothing behind when it fails, and what it built for an agent that died is found again.
import { openSync, readFileSync } from 'node:fs';
import type { Native } from '../native/addon/index.ts';
import { AgentError, errnoOf } from './agent-error.ts';
import type { CgroupRequest } from './cgroups.ts';
import type { BoundMount, MountTable } from './mounts.ts';
import { bootId } from './process-table.ts';
import type { Identity } from './sandbox-directory.ts';

export interface LaunchRequest {
  readonly nativeDir: string;
  readonly slots: number;
  readonly hostname: string;
  readonly mounts: MountTable;
  /** Of a sandbox in a carrier: what it gets of the carrier's mounts. */
  readonly carrierBinds?: readonly BoundMount[];
  /** It is to be under the carrier's seccomp profile. */
  readonly carrierProfile?: boolean;
  readonly cgroups: readonly CgroupRequest[];
  readonly devices: readonly string[];
  /** Without root: the only user there is in the sandbox. */
  readonly userNamespace: { uid: number; gid: number } | null;
  /** The agent's own mount and cgroup namespaces are the host's, or stand for it. */
  readonly keepNamespaces: boolean;
}

const firstFileFd = 3;
const mostComplaintBytes = 1 << 20;

export function launchArguments(request: LaunchRequest): string[] {
  const args = [
    '--init',
    `${request.nativeDir}/rank-init`,
    '--slots',
    String(request.slots),
    '--hostname',
    request.hostname,
  ];
  args.push('--root', request.mounts.root);
  for (const { mount, path, values } of request.cgroups) {
    args.push('--cgroup', `${mount}:${path}`);
    for (const [file, value] of values) args.push('--cgroup-set', `${file}=${value}`);
  }
  for (const { source, target, readOnly } of request.mounts.binds) {
    args.push('--bind', `${source}:${target}${readOnly ? ':ro' : ''}`);
  }
  for (const { source, target } of request.carrierBinds ?? [])
    args.push('--carrier-bind', `${source}:${target}`);
  if (request.carrierProfile === true) args.push('--carrier-profile');
  request.mounts.files.forEach((file, index) =>
    args.push('--file', `${file.path}:${String(firstFileFd + index)}`),
  );
  for (const device of request.devices) args.push('--device', device);
  if (request.userNamespace) {
    const { uid, gid } = request.userNamespace;
    args.push('--user-namespace', `${String(uid)}:${String(gid)}`);
  }
  if (request.keepNamespaces) args.push('--keep-namespaces');
  return args;
}

/**
 * Throws AgentError SandboxFailed with launch's own words. What launch says goes to `answerPath`, not to a pipe, and launch
 * holds the file's lock as long as it lives: an agent killed meanwhile leaves both to its successor (`answerOf`).
 */
export async function launch(
  native: Native,
  request: LaunchRequest,
  answerPath: string,
  /** Descriptor of the network namespace to be in; null: the node's own. */
  netns: number | null,
  /** pidfd of the process that carries it; null: its root is of the node. */
  carrier: number | null = null,
): Promise<Identity> {
  const opened: number[] = [];
  const open = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  let complaint = '';
  let status: number | null;
  try {
    const answer = open(openSync(answerPath, 'w', 0o600));
    if (!native.flock(answer)) throw new Error(`MUSTER_BUG: ${answerPath} is locked by another launch`);
    const nothing = open(openSync('/dev/null', 'r'));
    const stderr = open(native.memfd('stderr', Buffer.alloc(0), false));
    const files = request.mounts.files.map((file) =>
      open(native.memfd(file.path, Buffer.from(file.content), false)),
    );
    const further = [carrier, netns].filter((fd) => fd !== null);
    const numberOf = (fd: number): string => String(firstFileFd + files.length + further.indexOf(fd));
    const inherited = [
      ...(carrier === null ? [] : ['--carrier', numberOf(carrier)]),
      ...(netns === null ? [] : ['--net', `/proc/self/fd/${numberOf(netns)}`]),
    ];
    const pidfd = open(
      native.spawnProgram(`${request.nativeDir}/launch`, launchArguments(request).concat(inherited), [
        nothing,
        answer,
        stderr,
        ...files,
        ...further,
      ]),
    );
    for (const fd of opened.splice(opened.indexOf(answer), 1)) native.close(fd); // launch's lock alone is left
    status = await ended(native, pidfd);
    complaint = native.readAll(stderr, mostComplaintBytes).toString('utf8');
  } finally {
    for (const fd of opened.splice(0)) native.close(fd);
  }
  const identity = parseAnswer(readFileSync(answerPath, 'utf8'));
  if (identity !== null && 'pid' in identity) return identity;
  const said = (identity?.error ?? complaint.trim()) || `launch ended with wait status ${String(status)}`;
  throw new AgentError(
    'failed',
    'SandboxFailed',
    'MUSTER_LAUNCH_FAILED',
    said.replace(/^MUSTER_LAUNCH_FAILED: /, ''),
  );
}

function ended(native: Native, pidfd: number): Promise<number | null> {
  return new Promise((resolve) => {
    const watch = native.watch(pidfd, () => {
      watch.stop();
      resolve(native.reap(pidfd));
    });
  });
}

/** What a launch of an earlier agent came to: nothing, an identity, or 'running' while it is still at work. */
export function earlierAnswer(native: Native, answerPath: string): Identity | 'running' | null {
  let fd: number;
  try {
    fd = openSync(answerPath, 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    if (!native.flock(fd)) return 'running';
    const answer = parseAnswer(readFileSync(fd, 'utf8'));
    return answer !== null && 'pid' in answer ? answer : null;
  } finally {
    native.close(fd);
  }
}

function parseAnswer(text: string): Identity | { error: string } | null {
  let answer: { pid?: number; pidns?: number; startTime?: number; error?: string };
  try {
    answer = JSON.parse(text) as typeof answer;
  } catch {
    return null;
  }
  const { pid, pidns, startTime, error } = answer;
  if (error !== undefined) return { error };
  if (pid === undefined || pidns === undefined || startTime === undefined) return null;
  return { bootId: bootId(), pid, pidns, startTime };
}
