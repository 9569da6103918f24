// What an image of CRIU's may ask for. CRIU, as root, gives processes whatever their image says: users, capabilities, namespaces, mounts,
// devices. A node that somebody else has taken over could say anything there, so a node that restores holds it against what the group
// may have here, before CRIU begins. What ranks do in their own memory is theirs; what of pid 1's memory is believed docs/checkpoint.md
// says. Reads files, changes nothing.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { AgentError, messageOf } from '../agent-error.ts';
import { entriesOf, Entry } from './criu-images.ts';
import { refusedFile, type FileDemand, type FileUser } from './file-rights.ts';
import type { Manifest } from './image.ts';
import { tarEntriesOf } from './tar-entries.ts';

/** As whom ranks run, and what else they were given. */
export interface Rights {
  readonly node: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** Numbers of devices, as `MAJOR:MINOR`. */
  readonly devices: readonly string[];
  /** They run under a filter of system calls. */
  readonly filtered: boolean;
}

export interface Surroundings {
  /** The engine's names for mounts of the host's. */
  readonly mountKeys: ReadonlySet<string>;
  /** Where on this node a path of the sandbox is; null: in a Pod, whose files are its own. */
  readonly hostPathOf: (path: string) => string | null;
  /** The engine's name of a network namespace that is there already; null: ranks are in the host's. */
  readonly networkKey: string | null;
}

const firstPid = 1;
const dead = 2;
const stopped = 3;
const alive = 1;
const filterMode = 2;
const filtersName = 'seccomp.img';
const forAllThreads = 1;
/** Anybody may set it; without capabilities it keeps none. */
const keepCapabilities = 1 << 4;
/** proc, sysfs, tmpfs, devpts, mqueue: each sandbox's own. */
const ownFileSystems = new Set([1, 2, 5, 6, 14]);
/** Of the kinds of files that CRIU knows, those that ranks have without any rights. */
const ownFileKinds: Readonly<Record<number, string>> = {
  1: 'regular', 2: 'pipe', 3: 'fifo', 4: 'socket', 5: 'unix socket', 6: 'eventfd', 7: 'eventpoll', 8: 'inotify', 9: 'signalfd',
  11: 'terminal', 13: 'netlink socket', 17: 'timerfd', 18: 'memfd', 20: 'pidfd',
}; // prettier-ignore
/** null, zero, full, random, urandom, tty. */
const usualDevices = ['1:3', '1:5', '1:7', '1:8', '1:9', '5:0'];
export function deviceNumber(path: string): string {
  const { rdev } = statSync(path);
  const major = Math.floor(rdev / 256) % 4096;
  const minor = (rdev % 256) + Math.floor(rdev / 2 ** 20) * 256;
  return `${String(major)}:${String(minor)}`;
}

const plainModes = new Set([0o100000, 0o040000, 0o010000, 0o120000, 0o140000]);

/** Throws AgentError NotAllowed unless what the manifest says of users is what the group may have here. */
export function checkOwners({ spec, openFiles }: Pick<Manifest, 'spec' | 'openFiles'>, rights: Rights): void {
  if (spec.uid !== rights.uid || spec.gid !== rights.gid)
    throw forbidden(
      rights.node,
      excess(`its ranks ran as ${idsText(spec)}, the group runs as ${idsText(rights)}`),
    );
  for (const file of openFiles) checkOwner(file, rights, rights.node);
}

/** Throws AgentError NotAllowed when a file would be written with another user's rights. */
export function checkOwner(
  file: Pick<FileUser, 'uid' | 'gid'> & { readonly path: string },
  user: Pick<FileUser, 'uid' | 'gid'>,
  node: string,
): void {
  if (file.uid === user.uid && file.gid === user.gid) return;
  throw forbidden(
    node,
    excess(`file ${file.path} would be written as ${idsText(file)}, the group runs as ${idsText(user)}`),
  );
}

const idsText = ({ uid, gid }: Pick<FileUser, 'uid' | 'gid'>): string => `${String(uid)}:${String(gid)}`;

const forbidden = (node: string, cause: unknown): AgentError =>
  new AgentError(
    'refused',
    'NotAllowed',
    'MUSTER_IMAGE_RIGHTS',
    `node ${node}: the image asks for more than the group may have here: ${messageOf(cause)}; nothing of it was started`,
    { cause },
  );

const excess = (what: string): Error => new Error(what);

/** Throws AgentError NotAllowed when it asks for more than that. */
export async function checkImageRights(
  directory: string,
  rights: Rights,
  surroundings: Surroundings,
  signal: AbortSignal,
): Promise<void> {
  try {
    const image = new CriuImage(directory);
    checkProcesses(image, rights);
    checkNamespaces(image, surroundings);
    const mounts = mountsOf(image, surroundings);
    const links = checkTrees(image, mounts, rights);
    checkGhosts(image, rights);
    const refused = await refusedFile(demandsOf(image, mounts, links, surroundings), rights, signal);
    if (refused !== null) throw excess(refused);
  } catch (error) {
    if (error instanceof AgentError || signal.aborted) throw error;
    throw forbidden(rights.node, error);
  }
}

class CriuImage {
  readonly #directory: string;
  readonly names: readonly string[];

  constructor(directory: string) {
    this.#directory = directory;
    this.names = readdirSync(directory);
  }

  path(name: string): string {
    return `${this.#directory}/${name}`;
  }

  entries(name: string, headerBytes?: number): Entry[] {
    return entriesOf(readFileSync(this.path(name)), name, headerBytes).map((each) => new Entry(each, name));
  }

  /** A file of one entry. */
  entry(name: string, headerBytes?: number): Entry {
    const [entry, ...more] = this.entries(name, headerBytes);
    if (!entry || more.length > 0) throw excess(`${name} has ${String(more.length)} entries too many`);
    return entry;
  }

  all(shape: RegExp): string[] {
    return this.names.filter((name) => shape.test(name));
  }
}

function checkProcesses(image: CriuImage, rights: Rights): void {
  const [foreign] = image.all(/^(?:creds-|userns-|apparmor)/);
  if (foreign !== undefined) throw excess(`it brings users of its own (${foreign})`);
  const processes = image.entries('pstree.img');
  const roots = processes.filter((entry) => (entry.number(2) ?? 0) === 0);
  if (roots.length !== 1 || roots[0]?.number(1) !== firstPid || roots[0].numbers(5).length !== 1)
    throw excess('its first process is not pid 1 alone');
  for (const name of image.all(/^core-/)) checkCore(image.entry(name), name, rights);
  if (rights.filtered) checkFilters(image, processes);
}

function checkCore(core: Entry, name: string, rights: Rights): void {
  const [task, thread] = [core.entry(3), core.entry(5)];
  const pid = Number(/^core-(\d+)\.img$/.exec(name)?.[1]);
  const who = nameOf(core, pid);
  const state = task?.number(1);
  if (state !== undefined && ![alive, dead, stopped].includes(state))
    throw excess(`${who} is in a state of its own`);
  if (state === dead && !thread) return; // runs nothing, and has nothing
  const creds = thread?.entry(10);
  if (!thread || !creds) throw excess(`${who} has no users`);
  checkUsers(creds, who, pid === firstPid ? { ...rights, uid: 0, gid: 0 } : rights);
  const none = pid === firstPid ? [9, 12, 19] : [9, 10, 11, 12, 19];
  if (none.some((field) => creds.numbers(field).some((bits) => bits !== 0)))
    throw excess(`${who} would have capabilities`);
  if (creds.number(18) !== 1) throw excess(`${who} could gain privileges (no_new_privs)`);
  if (((creds.number(13) ?? 0) & ~keepCapabilities) !== 0)
    throw excess(`${who} would have secure bits ${String(creds.number(13))}`);
}

const nameOf = (core: Entry, pid: number): string =>
  `process ${String(pid)} (${core.entry(3)?.text(6) ?? core.entry(5)?.text(13) ?? '?'})`;

/** Threads that have the filter of their process's first one are said to have none: it is put on all of them (TSYNC). */
function checkFilters(image: CriuImage, processes: readonly Entry[]): void {
  const filters = image.names.includes(filtersName) ? image.entry(filtersName).entries(1) : [];
  for (const process of processes) {
    const pid = process.number(1) ?? 0;
    const first = image.entry(`core-${String(pid)}.img`);
    if (first.entry(3)?.number(1) === dead && !first.entry(5)) continue; // runs nothing
    const isForAll = ((filters[first.entry(5)?.number(12) ?? -1]?.number(3) ?? 0) & forAllThreads) !== 0;
    for (const tid of new Set([pid, ...process.numbers(5)])) {
      const core = tid === pid ? first : image.entry(`core-${String(tid)}.img`);
      const [task, thread] = [core.entry(3), core.entry(5)];
      const modes = [task?.number(11) ?? thread?.number(11), thread?.number(11)];
      if (modes.every((mode) => mode === filterMode)) continue;
      if (tid !== pid && isForAll && modes.every((mode) => mode === undefined)) continue;
      throw excess(
        `${nameOf(core, tid)} would run without the filter of system calls that ranks in Pods have`,
      );
    }
  }
}

function checkUsers(creds: Entry, who: string, { uid, gid, groups }: Rights): void {
  for (const [field, kind, expected] of userFields) {
    const found = creds.number(field) ?? 0;
    const own = expected === 'uid' ? uid : gid;
    if (found !== own)
      throw excess(`${who} would have ${kind} ${String(found)}, the group runs as ${String(own)}`);
  }
  if (uid === 0) return; // groups give root nothing
  const known = new Set([gid, ...groups]);
  const other = creds.numbers(14).find((group) => !known.has(group));
  if (other !== undefined)
    throw excess(
      `${who} would be in group ${String(other)}, the group may be in ${[...known].join(', ')} only`,
    );
}

const userFields = [
  [1, 'uid', 'uid'], [2, 'gid', 'gid'], [3, 'effective uid', 'uid'], [4, 'effective gid', 'gid'], [5, 'saved uid', 'uid'],
  [6, 'saved gid', 'gid'], [7, 'file system uid', 'uid'], [8, 'file system gid', 'gid'],
] as const; // prettier-ignore

const namespaces = [
  [5, 'process numbers'], [6, 'network'], [7, 'ipc'], [8, 'host name'], [9, 'mounts'], [10, 'users'],
] as const; // prettier-ignore
const network = 6;
const users = 10;

function checkNamespaces(image: CriuImage, { networkKey }: Surroundings): void {
  const outside = image.entry('inventory.img', 4).entry(3);
  const first = image.entry(`ids-${String(firstPid)}.img`);
  for (const [field, name] of namespaces) {
    const isHosts = outside === undefined || first.number(field) === outside.number(field);
    const mayBeHosts = field === users || (field === network && networkKey === null);
    if (isHosts !== mayBeHosts)
      throw excess(
        isHosts ? `it would be in the host's namespace of ${name}` : `it brings ${name} of its own`,
      );
  }
  for (const name of image.all(/^ids-/)) {
    const ids = image.entry(name);
    const other = namespaces.find(([field]) => ids.number(field) !== first.number(field));
    if (other)
      throw excess(`a process would be in another namespace of ${other[1]} than the first (${name})`);
  }
  for (const name of image.all(/^netns-\d+\.img$/))
    if (image.entry(name).text(8) !== (networkKey ?? undefined))
      throw excess(`it brings a network of its own`);
}

interface ImageMount {
  readonly point: string;
  readonly device: number;
  /** Of the host's: the root, or bound from it. */
  readonly isOuter: boolean;
  /** It shows its file system from the top. */
  readonly isWhole: boolean;
}

function mountsOf(image: CriuImage, { mountKeys }: Surroundings): ImageMount[] {
  const tables = image.all(/^mountpoints-/);
  if (tables.length !== 1) throw excess(`it has ${String(tables.length)} tables of mounts`);
  const mounts = image.entries(tables[0]!).map((entry): ImageMount => {
    const point = entry.text(7) ?? '';
    const key = entry.text(18);
    const type = entry.number(1) ?? 0;
    const isOuter = key !== undefined || point === '/';
    if (key !== undefined && !mountKeys.has(key))
      throw excess(`${point} would be a mount that is not among those of this node (${key})`);
    if (!isOuter && !ownFileSystems.has(type))
      throw excess(`${point} would be a file system of kind ${String(type)}`);
    return { point, device: entry.number(3) ?? 0, isOuter, isWhole: entry.text(6) === '/' };
  });
  const outer = new Set(mounts.filter(({ isOuter }) => isOuter).map(({ device }) => device));
  const bound = mounts.find(({ isOuter, device }) => !isOuter && outer.has(device));
  if (bound) throw excess(`${bound.point} would show another part of a file system of the host's`);
  if (mounts.filter(({ point }) => point === '/').length !== 1) throw excess('it has not one root');
  return mounts;
}

/** What is unpacked into its own file systems; gives the links in there. */
function checkTrees(image: CriuImage, mounts: readonly ImageMount[], { devices }: Rights): string[] {
  const known = new Set([...usualDevices, ...devices]);
  const links: string[] = [];
  for (const name of image.all(/^tmpfs-/)) {
    const device = Number(/^tmpfs-dev-(\d+)\.tar\.gz\.img$/.exec(name)?.[1]);
    const mount = mounts.find((each) => each.device === device && each.isWhole && !each.isOuter);
    if (!mount) throw excess(`${name} is of none of its mounts`);
    for (const entry of entriesIn(image, name)) {
      const path = `${mount.point === '/' ? '' : mount.point}/${entry.name.replace(/^\.\//, '')}`;
      const number = `${String(entry.device.major)}:${String(entry.device.minor)}`;
      if (entry.kind === 'block' || (entry.kind === 'character' && !known.has(number)))
        throw excess(`${path} would be a device (${entry.kind} ${number}) that the group was not given`);
      if (entry.kind === 'symlink') links.push(path);
    }
  }
  return links;
}

function entriesIn(image: CriuImage, name: string): ReturnType<typeof tarEntriesOf> {
  try {
    return tarEntriesOf(image.path(name));
  } catch (error) {
    throw excess(`${name}: ${messageOf(error)}`);
  }
}

/** Files without a name: made anew beside where they were, as whom the image says. */
function checkGhosts(image: CriuImage, { uid, gid, groups }: Rights): void {
  for (const name of image.all(/^ghost-file-/)) {
    const [ghost] = entriesOf(readGhost(image.path(name)), name).map((each) => new Entry(each, name));
    if (!ghost) throw excess(`${name} is empty`);
    const mode = ghost.number(3) ?? 0;
    if (!plainModes.has(mode & 0o170000) || (mode & 0o6000) !== 0)
      throw excess(`${name} would be a device, or run as another user`);
    if (![0, uid].includes(ghost.number(1) ?? 0) || ![0, gid, ...groups].includes(ghost.number(2) ?? 0))
      throw excess(`${name} would be another user's file (${String(ghost.number(1))})`);
  }
}

/** The entry alone: what follows is the file itself. */
function readGhost(path: string): Buffer {
  const bytes = readFileSync(path).subarray(0, 1 << 16);
  return bytes.length < 12 ? bytes : bytes.subarray(0, 12 + bytes.readUInt32LE(8));
}

const regular = 1;
const unixSocket = 5;
const accessMode = 3;
const writeOnly = 1;

/** What it would open on the host, by paths of this node. */
function demandsOf(
  image: CriuImage,
  mounts: readonly ImageMount[],
  links: readonly string[],
  { hostPathOf }: Surroundings,
): FileDemand[] {
  const points = [...mounts].sort((a, b) => b.point.length - a.point.length);
  const within = (path: string, top: string): boolean =>
    path === top || path.startsWith(top === '/' ? '/' : `${top}/`);
  const isHosts = (path: string): boolean =>
    points.find(({ point }) => within(path, point))?.isOuter !== false;
  const demands = new Map<string, FileDemand>();
  const demand = (shown: string, use: FileDemand['use']): void => {
    const path = isHosts(shown) ? hostPathOf(shown) : null;
    if (path !== null) demands.set(`${use} ${path}`, { path, shown, use });
  };
  for (const file of image.entries('files.img')) {
    const kind = file.number(1) ?? 0;
    if (!Object.hasOwn(ownFileKinds, kind))
      throw excess(`a process would hold a file of kind ${String(kind)}, which takes privileges`);
    const [reg, socket] = [file.entry(3), file.entry(16)];
    if (kind === regular && !reg) throw excess('a regular file has no name');
    if (reg && (reg.number(9) ?? 0) === 0) {
      const path = named(reg.text(6));
      const link = links.find((each) => within(path, each));
      if (link !== undefined) throw excess(`file ${path} would be opened through the link ${link}`);
      const access = (reg.number(2) ?? 0) & accessMode;
      const use = access === 0 ? 'read' : access === writeOnly ? 'write' : 'both';
      demand(path, use);
    }
    const name = kind === unixSocket ? (socket?.text(11) ?? '') : '';
    if (name.startsWith('/')) demand(name, 'make');
  }
  return [...demands.values()];
}

function named(name = ''): string {
  if (name.startsWith('/') && !name.split('/').includes('..')) return name;
  throw excess(`a file has the name ${JSON.stringify(name)}`);
}
