/** The units of examples/systemd, as far as they can be tried without systemd as pid 1: its own check, and what they start. */
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseHierarchies } from '../../node-agent/cgroups.ts';
import { eventually } from '../e2e/cluster.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const units = join(checkout, 'examples/systemd');
const read = (name: string): string => readFileSync(join(units, name), 'utf8');
const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0;
const isRoot = process.getuid?.() === 0;
const hierarchies = parseHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
const unified = hierarchies.find((each) => each.version === 2)?.mount ?? '';

describe('the units', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'muster-units-'));
  });
  afterAll(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  test.skipIf(!hasAnalyze)('pass the check of systemd itself', () => {
    const names = readdirSync(units).filter((name) => name.endsWith('.service'));
    expect(names).toHaveLength(3);
    // The check wants to find the programs.
    for (const name of names)
      writeFileSync(
        join(directory, name),
        read(name).replaceAll('/opt/muster/bin/muster', join(checkout, 'bin/muster')),
      );
    const { status, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', ...names.map((name) => join(directory, name))],
      {
        encoding: 'utf8',
        env: { ...process.env, SYSTEMD_UNIT_PATH: `${directory}:/lib/systemd/system` },
      },
    );
    expect([status, stderr.split('\n').filter((line) => line.includes('muster'))]).toEqual([0, []]);
  });

  test('leave processes alone when they are stopped', () => {
    for (const name of ['muster-agent.service', 'muster-sandboxes.service', 'muster-controller.service'])
      expect(read(name)).toMatch(/^KillMode=process$/m);
    expect(read('node.yaml')).toContain('cgroupParent: muster.slice/muster-sandboxes.service');
  });

  test.skipIf(!isRoot || !/^\/sys\/fs\/cgroup(\/unified)?$/.test(unified))(
    'the keeper leaves the delegated cgroup without a process of its own',
    async () => {
      const [, line = ''] = /^ExecStart=\/bin\/sh -ec '(.*)'$/m.exec(read('muster-sandboxes.service')) ?? [];
      const cgroup = join(unified, `muster-units-${String(process.pid)}`);
      mkdirSync(cgroup);
      const enter = `echo $$ >${cgroup}/cgroup.procs; exec /bin/sh -ec "$0"`;
      const child = spawn('/bin/sh', ['-c', enter, line.replaceAll('$$', '$')], { stdio: 'inherit' });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      const procsOf = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8').trim() : '');
      try {
        await eventually(
          () => procsOf(`${cgroup}/keeper/cgroup.procs`) === String(child.pid),
          'the keeper in its place',
        );
        expect(procsOf(`${cgroup}/cgroup.procs`)).toBe('');
      } finally {
        child.kill('SIGKILL');
        await ended;
        await eventually(() => procsOf(`${cgroup}/keeper/cgroup.procs`) === '', 'no process');
        for (const path of [`${cgroup}/keeper`, cgroup]) if (existsSync(path)) rmdirSync(path);
      }
    },
  );
});
