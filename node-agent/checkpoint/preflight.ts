// Whether a sandbox can be saved at all, found out before anything is touched and again once nothing moves: each refusal
// names the process and what it holds, so that people know what to change. It looks, and changes nothing.
import { readFileSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';
import type { Native } from '../../native/addon/index.ts';
import type { SandboxSpec } from '../../wire/agent-types.ts';
import type { AdoptedSandbox } from '../adopted-sandbox.ts';
import { AgentError } from '../agent-error.ts';
import type { CarrierRecord } from '../carrier.ts';
import { isPrivatePath, parseMountinfo } from '../mounts.ts';
import { placesOfCarrier } from './carried-trees.ts';
import { openFilesOf } from './cut.ts';
import type { Descriptor } from './descriptors.ts';
import type { OuterMount } from './engine.ts';
import { heldSockets, outerConnections, unixSockets } from './sockets.ts';
import {
  endTcpConnections,
  outerTcpConnections,
  peerOf,
  tcpSockets,
  type TcpSocket,
} from './tcp-connections.ts';

const looks = 4;
const lookAgainMs = 50;

export interface PreflightSubject {
  readonly native: Native;
  readonly node: string;
  readonly spec: SandboxSpec;
  readonly adopted: AdoptedSandbox;
  readonly carrier: CarrierRecord | null;
  readonly mounts: { readonly root: string; readonly binds: readonly OuterMount[] } | null;
  /** What its processes have open, as of the moment. */
  readonly descriptors: () => readonly Descriptor[];
  readonly when: 'before' | 'frozen';
  /** False: ranks save themselves, and have again what they hold once they are started anew. */
  readonly savesProcesses?: boolean;
  /** Refuse: none may be open for writing. */
  readonly openFiles: string;
  /** Reset: connections to outside are ended once nothing moves. */
  readonly externalConnections: string;
  /** Of what the node lets images have. */
  readonly freeBytes: number;
  readonly neededBytes: number;
}

/** Throws AgentError PreflightFailed with all that stands in the way. */
export async function preflight(subject: PreflightSubject): Promise<void> {
  const trouble = [
    ...carrierTrouble(subject),
    ...roomTrouble(subject),
    ...openFileTrouble(subject),
    ...(subject.savesProcesses === false ? [] : await processTrouble(subject)),
  ];
  if (trouble.length === 0) return;
  throw new AgentError(
    'refused',
    'PreflightFailed',
    'MUSTER_NOT_SAVABLE',
    `node ${subject.node}: ${trouble.slice(0, 4).join('; ')}${trouble.length > 4 ? `; and ${String(trouble.length - 4)} more` : ''}`,
  );
}

/** What stands in the way of saving processes as they are. */
async function processTrouble(subject: PreflightSubject): Promise<string[]> {
  const descriptors = subject.descriptors();
  return [
    ...networkTrouble(subject),
    ...mountTrouble(subject),
    ...descriptorTrouble(descriptors),
    ...(await connectionTrouble(subject, descriptors)),
  ];
}

function* carrierTrouble({ carrier }: PreflightSubject): Generator<string> {
  const trouble = carrier && placesOfCarrier(carrier).trouble;
  if (trouble) yield trouble;
}

/** Between sandboxes on the nodes' own network nothing could be kept from passing while one is saved and another is not. */
function* networkTrouble({ spec }: PreflightSubject): Generator<string> {
  if (spec.network || spec.sandboxes <= 1) return;
  const whose = spec.carrier ? 'network of their Pods' : "nodes' own network";
  yield `the group's ${String(spec.sandboxes)} sandboxes talk over the ${whose}, which cannot be stopped for a moment: use network Isolated, or one node`;
}

/** While the sandbox runs, a process may come between two looks at it: what is true is so again in a moment. */
async function connectionTrouble(
  subject: PreflightSubject,
  descriptors: readonly Descriptor[],
): Promise<string[]> {
  let trouble = await connectionsNow(subject, descriptors);
  for (let look = 1; trouble.length > 0 && subject.when === 'before' && look < looks; look++) {
    await after(lookAgainMs);
    trouble = await connectionsNow(subject, subject.descriptors());
  }
  return trouble;
}

async function connectionsNow(
  subject: PreflightSubject,
  descriptors: readonly Descriptor[],
): Promise<string[]> {
  const { native, adopted, spec, when } = subject;
  const pidfd = native.pidfdOpen(adopted.identity.pid);
  let netns: number | null = null;
  try {
    netns = native.netnsOf(pidfd);
    const [sockets, tcp] = await Promise.all([unixSockets(native, netns), tcpSockets(native, netns)]);
    const held = heldSockets(descriptors);
    const unix = outerConnections(sockets, held).map(
      ({ pid, peerName, accepted }) =>
        `${nameOf(pid)} ${accepted ? 'is connected' : 'is being connected'} to ${peerName === '' ? 'a socket' : peerName} outside of the sandbox: close the connection first`,
    );
    const subnets = [spec.network?.subnet, spec.network?.subnet6].filter(
      (each) => (each ?? '') !== '',
    ) as string[];
    const outer = outerTcpConnections(tcp, { held, subnets });
    if (spec.carrier && !spec.network) unix.push(...podAddressTrouble(tcp, spec.carrier.address, held));
    if (subject.externalConnections !== 'Reset')
      return [...unix, ...outer.map((each) => tcpText(each, held))];
    if (when === 'before') return unix;
    const failed = await endTcpConnections(native, netns, outer);
    return failed.length === 0
      ? unix
      : [
          ...unix,
          `connections to outside cannot be ended (error ${failed.join(', ')}): the kernel has no INET_DIAG_DESTROY`,
        ];
  } finally {
    native.close(pidfd);
    if (netns !== null) native.close(netns);
  }
}

/** Another Pod has another address, and what is bound to this one could not be. */
function podAddressTrouble(
  sockets: readonly TcpSocket[],
  address: string,
  held: ReadonlyMap<number, number>,
): string[] {
  const own = sockets.filter(({ localAddress, inode }) => localAddress === address && held.has(inode));
  const pids = new Set(own.map(({ inode }) => held.get(inode) ?? 0));
  return [...pids].map(
    (pid) =>
      `${nameOf(pid)} uses ${address}, the address of its Pod, which another Pod will not have: use network Isolated`,
  );
}

function openFileTrouble({ openFiles, descriptors, adopted }: PreflightSubject): string[] {
  if (openFiles !== 'Refuse') return [];
  const open = openFilesOf(descriptors(), adopted.identity.pid);
  return open.map(
    ({ file }) =>
      `file ${file.path} is open for writing, and openFiles is Refuse: close it, or use Truncate or Snapshot`,
  );
}

function tcpText(socket: TcpSocket, held: ReadonlyMap<number, number>): string {
  const pid = held.get(socket.inode);
  const who =
    pid === undefined ? 'a connection that nobody has accepted yet comes' : `${nameOf(pid)} is connected`;
  return `${who} ${pid === undefined ? 'from' : 'to'} ${peerOf(socket)} outside of the group: close it first, or use externalConnections Reset`;
}

function* roomTrouble({ freeBytes, neededBytes, when }: PreflightSubject): Generator<string> {
  if (when === 'frozen' || freeBytes >= neededBytes) return;
  yield `an image of about ${String(neededBytes)} bytes does not fit into the ${String(freeBytes)} bytes that are free for images`;
}

/** A mount that the table does not know would be saved as a copy, and the restored ranks would write into that. */
function* mountTrouble({ mounts, adopted }: PreflightSubject): Generator<string> {
  if (mounts === null) return;
  const known = new Set(['/', ...mounts.binds.map(({ target }) => target)]);
  const text = readFileSync(`/proc/${String(adopted.identity.pid)}/mountinfo`, 'utf8');
  for (const { mountPoint } of parseMountinfo(text)) {
    if (known.has(mountPoint) || isPrivatePath(mountPoint) || mountPoint.startsWith('/etc/')) continue;
    yield `${mountPoint} was mounted in the sandbox after it began: unmount it`;
  }
}

const unsavable: readonly (readonly [RegExp, string])[] = [
  [/^anon_inode:\[io_uring\]/, 'io_uring, which cannot be saved'],
  [/^anon_inode:\[perf_event\]/, 'a performance counter, which cannot be saved'],
  [/^anon_inode:bpf/, 'a BPF object, which cannot be saved'],
  [/^\/dev\/infiniband\//, 'an InfiniBand device, whose state cannot be saved: run with a TCP transport'],
];
const usualDevices = /^\/dev\/(?:null|zero|full|random|urandom|tty|ptmx|pts(?:\/.*)?|shm\/.*)$/;

function* descriptorTrouble(descriptors: readonly Descriptor[]): Generator<string> {
  for (const { pid, target } of descriptors) {
    const why = unsavable.find(([pattern]) => pattern.test(target))?.[1];
    if (why !== undefined) yield `${nameOf(pid)} uses ${why}`;
    else if (target.startsWith('/dev/') && !usualDevices.test(target) && !target.endsWith(' (deleted)'))
      yield `${nameOf(pid)} has the device ${target} open, whose state cannot be saved`;
  }
}

/** As people know it: its rank, if it has one, its name and its number in the sandbox. */
export function nameOf(pid: number): string {
  try {
    const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
    const inner = /^NSpid:.*\s(\d+)$/m.exec(status)?.[1] ?? String(pid);
    const name = /^Name:\s*(.*)$/m.exec(status)?.[1] ?? '';
    const rank = /(?:^|\0)MUSTER_RANK=(\d+)/.exec(
      readFileSync(`/proc/${String(pid)}/environ`, 'latin1'),
    )?.[1];
    return `${rank === undefined ? '' : `rank ${rank}, `}${name} (process ${inner})`;
  } catch {
    return `process ${String(pid)}`;
  }
}
