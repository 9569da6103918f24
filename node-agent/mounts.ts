// The one table of mounts of a sandbox: from it the sandbox is built, and whoever has to know later what belongs in it
// (a dump's options, a pre-flight) takes it from here. Pure: the host's mount table comes in as text.
// What `launch` always makes is not listed: a private root, /proc, /sys, /dev, /dev/shm, /tmp, /run.
import { isIP } from 'node:net';
import type { Bind } from './config.ts';

export interface HostMount {
  readonly id: number;
  readonly mountPoint: string;
  readonly fsType: string;
  readonly root: string;
}

export interface BoundMount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** Content that stands at a path of the sandbox in place of the host's file. */
export interface GeneratedFile {
  readonly path: string;
  readonly content: string;
}

export interface MountTable {
  readonly root: string;
  readonly binds: readonly BoundMount[];
  readonly files: readonly GeneratedFile[];
}

const pseudoTypes = new Set(
  (
    'proc sysfs devtmpfs devpts cgroup cgroup2 mqueue debugfs tracefs securityfs pstore bpf configfs fusectl hugetlbfs ' +
    'nsfs autofs binfmt_misc rpc_pipefs efivarfs selinuxfs smackfs fuse.gvfsd-fuse fuse.portal fuse.lxcfs nfsd ramfs'
  ).split(' '),
);
const privateTrees = ['/proc', '/sys', '/dev', '/run', '/tmp', '/var/run'];

/** What runtimes mount for their containers: nobody else's to see, and gone with the container. */
const ofContainers = /\/(?:kubelet\/pods|containerd|docker|containers\/storage|crio)\//;

/** Trees that a sandbox has for itself: nothing of the host's is there but what node configuration binds. */
export function isPrivatePath(path: string): boolean {
  return privateTrees.some((tree) => path === tree || path.startsWith(`${tree}/`));
}

export function parseMountinfo(text: string): HostMount[] {
  const mounts: HostMount[] = [];
  for (const line of text.split('\n')) {
    const [before, after] = line.split(' - ', 2);
    const fields = before?.split(' ') ?? [];
    const fsType = after?.split(' ', 1)[0];
    const [id, , , root, mountPoint] = fields;
    if (root === undefined || mountPoint === undefined || fsType === undefined) continue;
    mounts.push({ id: Number(id), mountPoint: unescape(mountPoint), fsType, root: unescape(root) });
  }
  return mounts;
}

/** Mounts of the host that sandboxes see: real file systems outside the private trees, the topmost of each place. */
export function visibleMounts(mounts: readonly HostMount[]): string[] {
  const points = new Set<string>();
  for (const { mountPoint, fsType } of mounts) {
    // A mount hides what was mounted below its place before.
    for (const point of points) if (point.startsWith(`${mountPoint}/`)) points.delete(point);
    points.delete(mountPoint);
    if (mountPoint === '/' || pseudoTypes.has(fsType) || isPrivatePath(mountPoint)) continue;
    if (ofContainers.test(mountPoint)) continue;
    points.add(mountPoint);
  }
  return [...points].sort();
}

export function mountTableOf(options: {
  root: string;
  hostMounts: readonly HostMount[];
  binds: readonly Bind[];
  files: readonly GeneratedFile[];
}): MountTable {
  const generated = new Set(options.files.map((file) => file.path));
  const table = new Map<string, BoundMount>();
  if (options.root === '/') {
    for (const point of visibleMounts(options.hostMounts)) {
      if (!generated.has(point)) table.set(point, { source: point, target: point, readOnly: false });
    }
  }
  for (const bind of options.binds) {
    const target = bind.target ?? bind.source;
    table.set(target, { source: bind.source, target, readOnly: bind.readOnly ?? false });
  }
  // Parents first.
  const binds = [...table.values()].sort((a, b) => (a.target < b.target ? -1 : 1));
  return { root: options.root, binds, files: options.files };
}

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

export interface NamedGroup {
  readonly name: string;
  readonly gid: number;
}

/** The files of /etc that name users, groups and hosts: only what the job needs, and no name service that talks outside. */
export function generatedFiles(options: {
  hostname: string;
  address: string;
  /** Lines of hosts(5) for the nodes of the group. */
  hosts: string;
  account: Account;
  groups: readonly NamedGroup[];
  resolvConf: string;
}): GeneratedFile[] {
  const { account, hostname } = options;
  const accounts = new Map<number, Account>([
    [0, { name: 'root', uid: 0, gid: 0, home: '/root', shell: '/bin/sh' }],
    [65534, { name: 'nobody', uid: 65534, gid: 65534, home: '/nonexistent', shell: '/usr/sbin/nologin' }],
  ]);
  accounts.set(account.uid, account);
  const groups = new Map<number, string>([
    [0, 'root'],
    [65534, 'nogroup'],
  ]);
  for (const group of options.groups) groups.set(group.gid, group.name);
  if (!groups.has(account.gid)) groups.set(account.gid, account.name);
  return [
    {
      path: '/etc/passwd',
      content: [...accounts.values()]
        .map((a) => `${a.name}:x:${String(a.uid)}:${String(a.gid)}::${a.home}:${a.shell}\n`)
        .join(''),
    },
    { path: '/etc/group', content: [...groups].map(([gid, name]) => `${name}:x:${String(gid)}:\n`).join('') },
    {
      path: '/etc/hosts',
      content: hostsFileOf(hostname, options.address, options.hosts),
    },
    {
      path: '/etc/nsswitch.conf',
      content:
        'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n',
    },
    { path: '/etc/resolv.conf', content: options.resolvConf },
    { path: '/etc/hostname', content: `${hostname}\n` },
  ];
}

/** The node itself comes first where the group's lines do not name it: by its own address, never by 127.0.1.1. */
function hostsFileOf(hostname: string, address: string, hosts: string): string {
  const names = hosts.split('\n').flatMap((line) => line.split(' ').slice(1));
  const own = names.includes(hostname) || isIP(address) === 0 ? '' : `${address} ${hostname}\n`;
  return `127.0.0.1 localhost\n::1 localhost\n${own}${hosts}`;
}

/** What to add to a message about a path that cannot be found, when the sandbox has its own tree there; else nothing. */
export function privatePathHint(path: string): string {
  const tree = ['/tmp', '/run', '/var/run', '/dev/shm'].find(
    (each) => path === each || path.startsWith(`${each}/`),
  );
  if (tree === undefined) return '';
  return ` (${tree} is private in a sandbox: keep the file elsewhere, or let the administrator bind it with the node's "binds")`;
}

function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}
