/**
 * CRIU by hand, as nobody would have to run it: the sandbox of a job frozen, dumped with the options that it needs, thawed. What it
 * takes is what no checkpoint can be cheaper than. It asks the agent nothing, and tells it nothing.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { criuProgram } from '../../test/criu/criu.ts';
import { parseMountinfo } from '../../node-agent/mounts.ts';

const frozenWithinMs = 10_000;

/** Where the cgroup of version 2 is that a process is in. */
function cgroupOf(pid: number): string {
  const hierarchy = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')).find(
    ({ fsType }) => fsType === 'cgroup2',
  );
  const path = /^0::(.*)$/m.exec(readFileSync(`/proc/${String(pid)}/cgroup`, 'utf8'))?.[1];
  if (!hierarchy || path === undefined) throw new Error('no cgroup v2 hierarchy is mounted');
  return `${hierarchy.mountPoint}${path}`;
}

function freeze(cgroup: string, frozen: boolean): void {
  writeFileSync(`${cgroup}/cgroup.freeze`, frozen ? '1' : '0');
  const until = performance.now() + frozenWithinMs;
  while (!readFileSync(`${cgroup}/cgroup.events`, 'utf8').includes(`frozen ${frozen ? '1' : '0'}`))
    if (performance.now() > until) throw new Error(`${cgroup} is not frozen`);
}

/** Milliseconds from the first rank frozen to the last thawed, and of CRIU itself. `sandbox`: what the agent keeps of it. */
export function plainDump(sandbox: string, images: string): { still: number; criu: number } {
  const read = <T>(name: string): T => JSON.parse(readFileSync(`${sandbox}/${name}`, 'utf8')) as T;
  const { pid } = read<{ pid: number }>('identity');
  const { binds } = read<{ binds: { target: string }[] }>('mounts');
  const external = [
    ...binds.map(({ target }, at) => `mnt[${target}]:outer${String(at)}`),
    `net[${String(statSync(`/proc/${String(pid)}/ns/net`).ino)}]:network`,
  ].flatMap((each) => ['--external', each]);
  const cgroup = cgroupOf(pid);
  mkdirSync(images, { mode: 0o700 });
  const began = performance.now();
  freeze(cgroup, true);
  try {
    const criuBegan = performance.now();
    execFileSync(
      criuProgram(),
      [
        ...['dump', '-t', String(pid), '-D', images, '-o', 'dump.log', '--leave-running'],
        ...['--freeze-cgroup', cgroup, '--tcp-established', '--file-locks', '--network-lock', 'nftables'],
        ...['--manage-cgroups=ignore', '--ghost-limit', '4G', '-v3', ...external],
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const criu = performance.now() - criuBegan;
    freeze(cgroup, false);
    return { still: performance.now() - began, criu };
  } finally {
    writeFileSync(`${cgroup}/cgroup.freeze`, '0');
    rmSync(images, { recursive: true, force: true });
  }
}

/** Of a run of CRIU's, by the last line of its own log, but for what it waited for an answer of the agent's; milliseconds. */
export function timeInLog(path: string): number {
  const lines = readFileSync(path, 'utf8').split('\n');
  const times = lines.flatMap((line) => /^\((\d+\.\d+)\)/.exec(line)?.[1] ?? []).map(Number);
  const asked = lines.findIndex((line) => line.includes('Running post-restore scripts'));
  const waited = asked < 0 ? 0 : (times[asked + 1] ?? 0) - (times[asked] ?? 0);
  return ((times.at(-1) ?? Number.NaN) - waited) * 1000;
}
