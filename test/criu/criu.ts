/**
 * CRIU by hand, as an administrator would run it on a host: which CRIU, its options for a sandbox of Muster's, freeze, dump,
 * restore. The options for mounts come from the agent's own table, so a mount that the table does not know of fails the dump.
 */
import { spawnSync } from 'node:child_process';
import { isPrivatePath, mountTableOf, parseMountinfo } from '../../node-agent/mounts.ts';
import type { Host } from '../hosts/hosts.ts';

const checkout = new URL('../../', import.meta.url).pathname;

/** The CRIU that set-up has brought. Without it there is no proof, so there is no skipping either. */
export function criuProgram(): string {
  const { status, stdout, stderr } = spawnSync(`${checkout}scripts/criu.sh`, { encoding: 'utf8' });
  const path = stdout.trim().split('\n').at(-1) ?? '';
  if (status !== 0 || path === '') {
    throw new Error(
      `CRIU 4.2 or later is missing and scripts/criu.sh could not bring it (root, gcc and a Debian mirror are needed): ${stderr}`,
    );
  }
  return path;
}

export interface SandboxOnHost {
  readonly host: Host;
  /** Of its first process, as the host sees it. */
  readonly pid: number;
  /** Its cgroups' paths, the unified one first. */
  readonly cgroups: readonly string[];
}

/** What belongs to the host and not to the sandbox: the agent's table, with the key under which CRIU knows each. */
export async function outerMounts(host: Host): Promise<{ key: string; source: string; target: string }[]> {
  const hostMounts = parseMountinfo(await host.sh('cat /proc/1/mountinfo'));
  const table = mountTableOf({ root: '/', hostMounts, binds: [], files: [] });
  return table.binds.map(({ source, target }, index) => ({ key: `outer${index}`, source, target }));
}

/** Mount points of a sandbox that neither launch makes in every sandbox nor the table names. */
export async function unknownMounts({ host, pid }: SandboxOnHost): Promise<string[]> {
  const known = new Set(['/', ...(await outerMounts(host)).map(({ target }) => target)]);
  return parseMountinfo(await host.sh(`cat /proc/${pid}/mountinfo`))
    .map(({ mountPoint }) => mountPoint)
    .filter((point) => !known.has(point) && !isPrivatePath(point) && !point.startsWith('/etc/'));
}

const common = [
  '--tcp-established',
  '--file-locks',
  '--network-lock',
  'nftables',
  '--manage-cgroups=ignore',
  '-v4',
];

/** A description that a sandbox holds of a file outside of it: the spool of standard input. It is handed over anew. */
export interface OuterFile {
  /** CRIU's name for it. */
  readonly id: string;
  readonly path: string;
  readonly position: number;
}

export interface Dumped {
  readonly images: string;
  readonly files: readonly OuterFile[];
  readonly elapsedMs: number;
}

async function outerFiles({ host, pid }: SandboxOnHost): Promise<OuterFile[]> {
  const listed = await host.sh(`cd /proc/${pid}/fd
    for fd in *; do
      path=$(readlink $fd)
      case $path in ${host.home}/*) ;; *) continue ;; esac
      echo $(sed -n 's/^pos:\\t//p; s/^mnt_id:\\t//p' /proc/${pid}/fdinfo/$fd) $(stat -L -c %i $fd) $path
    done`);
  return listed
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [position, mount, inode, ...path] = line.split(' ');
      const id = `file[${Number(mount).toString(16)}:${Number(inode).toString(16)}]`;
      return { id, path: path.join(' '), position: Number(position) };
    });
}

/** Freezes, dumps and so ends a sandbox. When dumping fails the sandbox is thawed and runs on. `more`: options. */
export async function dump(
  criu: string,
  sandbox: SandboxOnHost,
  images: string,
  more: readonly string[] = [],
): Promise<Dumped> {
  const { host, pid, cgroups } = sandbox;
  const [unified] = cgroups;
  const external = (await outerMounts(host)).flatMap(({ key, target }) => [
    '--external',
    `mnt[${target}]:${key}`,
  ]);
  await host.sh(`mkdir -p -m 700 ${images}
    echo 1 > ${unified}/cgroup.freeze
    until grep -q '^frozen 1' ${unified}/cgroup.events; do :; done`);
  try {
    const files = await outerFiles(sandbox);
    const started = performance.now();
    await run(host, images, 'dump', [
      ...[criu, 'dump', '-t', String(pid), '-D', images, '-o', 'dump.log', '--ghost-limit', '4G'],
      ...['--freeze-cgroup', unified!, ...external, ...files.flatMap(({ id }) => ['--external', id])],
      ...[...common, ...more],
    ]);
    return { images, files, elapsedMs: performance.now() - started };
  } finally {
    await host.sh(`echo 0 > ${unified}/cgroup.freeze`);
  }
}

/** Restores what was dumped into its old cgroups; the new pid of its first process on the host. */
export async function restore(
  criu: string,
  { host, cgroups }: Omit<SandboxOnHost, 'pid'>,
  { images, files }: Dumped,
): Promise<{ pid: number; elapsedMs: number }> {
  const root = `${host.base}/root`;
  const external = (await outerMounts(host)).flatMap(({ key, source }) => [
    '--external',
    `mnt[${key}]:${source}`,
  ]);
  const inherited = files.flatMap(({ id }, index) => ['--inherit-fd', `fd[${index + 5}]:${id}`]);
  const opened = files.map(
    ({ path, position }, index) =>
      `exec ${index + 5}< ${path}; head -c ${position} <&${index + 5} > /dev/null`,
  );
  const enter = cgroups.map((cgroup) => `echo $$ > ${cgroup}/cgroup.procs`);
  await host.sh(`mkdir -p ${root}; mount --bind / ${root}; mount --make-private ${root}`);
  try {
    const started = performance.now();
    await run(host, images, 'restore', [
      ...['sh', '-ec', [...opened, ...enter, 'exec "$@"'].join('\n'), 'restore'],
      ...[criu, 'restore', '-D', images, '-o', 'restore.log', '-d', '--root', root],
      ...['--pidfile', `${images}/pid`, ...external, ...inherited, ...common],
    ]);
    const elapsedMs = performance.now() - started;
    return { pid: Number(await host.sh(`cat ${images}/pid`)), elapsedMs };
  } finally {
    await host.sh(`umount ${root}; rmdir ${root}`);
  }
}

async function run(host: Host, images: string, what: string, argv: readonly string[]): Promise<void> {
  const { code, stderr } = await host.run(argv);
  if (code === 0) return;
  const log = await host.sh(`grep -n -i 'error\\|warn' ${images}/${what}.log | tail -n 20 || true`);
  throw new Error(`criu ${what}: status ${code}\n${stderr}\n${log}`);
}
