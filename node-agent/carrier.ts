// The carrier Pod of a sandbox as its node sees it: the Pod's cgroups by its UID, and in them the process that only waits, whose
// root, mounts and network the sandbox gets. Nothing is asked of the kubelet or the container runtime, and nothing that a Pod can
// choose is believed but what stands in its own cgroups.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import type { Carrier } from '../wire/agent-types.ts';
import { AgentError } from './agent-error.ts';
import { parseMountinfo, type BoundMount, type HostMount } from './mounts.ts';
import { startTimeOf } from './process-table.ts';

/** What of it has to be known again by a later agent. */
export interface CarrierRecord {
  readonly pid: number;
  readonly startTime: number;
  /** Its cgroup in each hierarchy that has one, below the mount point. */
  readonly cgroups: Readonly<Record<string, string>>;
}

const waiter = '/.muster/carrier-wait';
const uidShape = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const withinMs = 5_000;

/** Waits a moment for it: the API server may know of a running container before its process is what it will be. */
export async function findCarrier(
  carrier: Carrier,
  hierarchies: readonly string[],
  node: string,
): Promise<CarrierRecord> {
  if (!uidShape.test(carrier.uid))
    throw lost(`${node}: carrier Pod ${carrier.pod} has the odd uid ${carrier.uid}`);
  const untilMs = performance.now() + withinMs;
  for (;;) {
    const found = lookForCarrier(carrier.uid, hierarchies);
    if (found) return found;
    if (performance.now() > untilMs) {
      const where = `${carrier.namespace}/${carrier.pod} (uid ${carrier.uid})`;
      throw lost(
        `node ${node}: no process of carrier Pod ${where} waits here: it has ended, or ${waiter} is not what it runs`,
      );
    }
    await new Promise((resolve) => void setTimeout(resolve, 50));
  }
}

const lost = (message: string): AgentError =>
  new AgentError('failed', 'CarrierLost', 'MUSTER_CARRIER_LOST', message);

export function lookForCarrier(uid: string, hierarchies: readonly string[]): CarrierRecord | undefined {
  const cgroups: Record<string, string> = {};
  for (const mount of hierarchies) {
    const path = podCgroup(mount, uid);
    if (path !== undefined) cgroups[mount] = path;
  }
  for (const [mount, path] of Object.entries(cgroups)) {
    for (const pid of processesBelow(`${mount}/${path}`)) {
      const startTime = startTimeOf(pid);
      if (startTime === null || argumentsOf(pid)[0] !== waiter) continue;
      return { pid, startTime, cgroups };
    }
  }
  return undefined;
}

const classes = ['', 'besteffort', 'burstable'];

/** As the kubelet names it, by either of its drivers, below whatever it was told to be below. */
export function podCgroup(mount: string, uid: string): string | undefined {
  const escaped = uid.replaceAll('-', '_');
  const parents = ['', ...namesIn(mount).filter((name) => /^kubelet(\.slice)?$/.test(name))];
  for (const parent of parents) {
    const [before, prefix] = parent === '' ? ['', ''] : [`${parent}/`, `${parent.replace('.slice', '')}-`];
    for (const each of classes) {
      const plain = `${before}kubepods/${each === '' ? '' : `${each}/`}pod${uid}`;
      const top = `${prefix}kubepods`;
      const middle = each === '' ? '' : `/${top}-${each}.slice`;
      const slice = `${before}${top}.slice${middle}/${top}${each === '' ? '' : `-${each}`}-pod${escaped}.slice`;
      for (const path of [plain, slice]) if (existsSync(`${mount}/${path}`)) return path;
    }
  }
  return undefined;
}

function* processesBelow(directory: string): Generator<number> {
  for (const pid of read(`${directory}/cgroup.procs`).split('\n')) if (pid !== '') yield Number(pid);
  for (const name of namesIn(directory)) yield* processesBelow(`${directory}/${name}`);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

const argumentsOf = (pid: number): string[] => read(`/proc/${String(pid)}/cmdline`).split('\0');

export const isSameCarrier = ({ pid, startTime }: CarrierRecord): boolean => startTimeOf(pid) === startTime;

/** What of its mounts the sandbox gets: volumes and name service, but nothing of the kernel's and nothing of ours. */
export function carrierMounts({ pid }: CarrierRecord): BoundMount[] {
  return carriedMounts(parseMountinfo(read(`/proc/${String(pid)}/mountinfo`)));
}

const kernelTrees = ['/proc', '/sys', '/dev', '/.muster'];
const ownFiles = ['/', '/etc/hosts', '/etc/hostname'];

export function carriedMounts(mounts: readonly HostMount[]): BoundMount[] {
  return mounts
    .map(({ mountPoint }) => mountPoint)
    .filter((point) => !ownFiles.includes(point))
    .filter((point) => !kernelTrees.some((tree) => point === tree || point.startsWith(`${tree}/`)))
    .filter((point, i, all) => all.lastIndexOf(point) === i)
    .map((point) => ({ source: point, target: point, readOnly: false }))
    .sort((a, b) => (a.target < b.target ? -1 : 1));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
